"""What `chipsieve bench` measures, and how."""
