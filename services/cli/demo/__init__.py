"""The demo: rendered chips, two lines of them, through the real pipeline."""
