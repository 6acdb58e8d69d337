"""Where what was fetched or converted once is kept, and may be deleted at any time."""

import os
from pathlib import Path


def default_cache_dir() -> Path:
    """``CHIPSIEVE_CACHE_DIR``, else ``~/.cache/chipsieve``."""
    return Path(os.environ.get("CHIPSIEVE_CACHE_DIR") or Path.home() / ".cache" / "chipsieve")
