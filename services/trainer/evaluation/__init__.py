"""How good a bank is, on pictures whose truth is known."""
