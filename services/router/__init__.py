"""Verdicts in, rejects and alerts out."""
