"""How a run is followed: a line for each thing that happens."""

import sys
import time
from collections.abc import Callable

Tell = Callable[[str], None]


def on_standard_error() -> Tell:
    """Tell on standard error, with the seconds since now."""
    began = time.monotonic()

    def tell(what: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {what}", file=sys.stderr, flush=True)

    return tell
