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
    """Run one service until SIGTERM or Ctrl-C; its settings are CHIPSIEVE_ variables, as `local up` writes to DIR/env.

    Exit status: 0 it was told to stop; 1 it failed, a restart may help; 2 a setting or a file is wrong; 3 another
    process of the stage has the same CHIPSIEVE_STREAM__WORKER; 4 it had too many dead letters.
    """
    # Replaces this process, so that signals and exit status are the service's own.
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", f"services.{service}"])  # noqa: S606  (no shell wanted)
