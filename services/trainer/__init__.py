"""From a folder of pictures to a bundle, and how good it is."""
