"""Which layers of a backbone, at which sizes, suit a product."""
