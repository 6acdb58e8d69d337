"""A bundle's life after training: what it remembers, how it grows, and what it refuses to learn."""
