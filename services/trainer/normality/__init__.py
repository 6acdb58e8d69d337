"""What good pictures teach: memory banks, networks and the distances that held-out ones have."""
