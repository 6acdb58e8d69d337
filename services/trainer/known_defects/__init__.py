"""What pictures of defects teach, and what is remembered of them."""
