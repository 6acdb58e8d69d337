"""Patch features in, verdicts out."""
