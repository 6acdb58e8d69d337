"""Pictures in, patch features out."""
