"""`chipsieve collect`: pictures back from the line, in folders by verdict, to look at and to learn from."""
