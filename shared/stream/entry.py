"""Where a service's process begins: settings from the environment, then the service, then an exit status."""

from collections.abc import Callable
from typing import TypeVar

import structlog

from shared.errors import ConfigurationError
from shared.settings import LogSettings, Settings
from shared.stream.errors import ExitStatus
from shared.telemetry import configure_logs

S = TypeVar("S", bound=Settings)


def enter(service: str, settings_type: type[S], run: Callable[[S], int]) -> int:
    """Read the settings and run the service with them; the process's exit status (`ExitStatus`).

    Wrong settings, and whatever `run` finds wrong before it serves, end it with one log line and `MISCONFIGURED`.
    """
    try:
        return run(settings_type())
    except ConfigurationError as error:
        # The log settings may be what is wrong; the plain ones tell it.
        configure_logs(LogSettings(), stage=service)
        structlog.get_logger().error("misconfigured", reason=str(error))
        return ExitStatus.MISCONFIGURED
