"""The `chipsieve` command."""
