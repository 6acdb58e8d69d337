"""TensorFlow and Keras, imported without its notes to standard error; import them from here.

Its C++ side writes of CPU features and missing CUDA libraries before any log level is heeded. Those lines are kept
back here; anything else that was written meanwhile, by whatever thread, is passed on.
"""

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

# Heeded once TensorFlow runs: errors only.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

_NOTE = re.compile(
    rb"[IW]\d{4} [\d:.]+ +\d+ \S+:\d+\] .*"
    rb"|E\d{4} .* failed call to cuInit.*"  # said of every machine without a GPU
    rb"|WARNING: All log messages before absl.*"
    rb"|To enable the following instructions:.*"
)


@contextmanager
def _without_notes() -> Iterator[None]:
    sys.stderr.flush()
    standard_error = os.dup(2)
    with tempfile.TemporaryFile() as written:
        os.dup2(written.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(standard_error, 2)
            written.seek(0)
            os.write(2, b"".join(line for line in written if not _NOTE.match(line)))
            os.close(standard_error)


with _without_notes():
    import keras
    import tensorflow as tf

    # Looking for GPUs is the last thing that writes notes.
    tf.config.list_physical_devices("GPU")

__all__ = ["keras", "tf"]
