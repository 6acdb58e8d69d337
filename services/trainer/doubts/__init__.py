"""What may be wrong with pictures that can be read, told before it costs a plant anything."""
