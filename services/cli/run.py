"""`chipsieve run SERVICE`: one service in this process, as a container would start it."""

import os
import sys
from enum import StrEnum
from typing import Annotated

import typer


class Service(StrEnum):
    """The services that run for ever."""

    GATEWAY = "gateway"
    EXTRACTOR = "extractor"
    MATCHER = "matcher"
    ROUTER = "router"


def run(service: Annotated[Service, typer.Argument(help="Which service to run.")]) -> None:
    """Run one service until SIGTERM or Ctrl-C; settings come from CHIPSIEVE_ variables (see `local up`)."""
    # Replaces this process, so that signals and exit status are the service's own.
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", f"services.{service}"])  # noqa: S606  (no shell wanted)
