"""What is normal, versioned: bundles, their store and their cache."""
