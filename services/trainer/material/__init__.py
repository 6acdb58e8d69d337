"""The pictures that a bundle is learnt from and tried on: found, grouped, sorted out, and read."""
