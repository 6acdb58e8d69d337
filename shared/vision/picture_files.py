"""Which files in a folder are pictures, by their names alone: the same for training, evaluation and the line."""

# What cameras and tools write, and GIF so that one in the folder is judged (and refused by name) instead of overlooked.
PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif"}
)
LOSSY_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".webp"})
