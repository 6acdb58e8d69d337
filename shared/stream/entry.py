"""Where a service's process begins: settings from the environment, then the service, then an exit status."""

import os
from collections.abc import Callable
from typing import TypeVar

import structlog

from shared.errors import ConfigurationError
from shared.logs import configure_logs
from shared.settings import LogSettings, Settings
from shared.stream.errors import ExitStatus

S = TypeVar("S", bound=Settings)


def enter(service: str, settings_type: type[S], run: Callable[[S], int]) -> int:
    """Read the settings and run the service with them; the process's exit status (`ExitStatus`).

    A variable that sets nothing, most likely a misspelt one, is warned of. Wrong settings, and whatever `run` finds
    wrong before it serves, end the process with one log line and `MISCONFIGURED`.
    """
    configure_logs(LogSettings(), stage=service)  # those of the environment may be what is wrong
    try:
        settings = settings_type()
        configure_logs(settings.log, stage=service)
        for variable, meant in settings.unknown(os.environ).items():
            structlog.get_logger().warning("unknown_setting", variable=variable, meant=meant)
        return run(settings)
    except ConfigurationError as error:
        structlog.get_logger().error("misconfigured", reason=str(error))
        return ExitStatus.MISCONFIGURED
