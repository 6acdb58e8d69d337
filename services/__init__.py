"""The processes: each does one step, none imports another."""
