"""The runtime every stage runs in; it knows no pictures."""
