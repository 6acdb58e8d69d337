"""``python -m services.router``: one router process."""

import sys

import structlog

from services.router.errors import InvalidRules
from services.router.rules_file import load_rules
from services.router.settings import RouterSettings
from services.router.step import RouterStep
from shared.stream.errors import ExitStatus
from shared.stream.service import run
from shared.telemetry import configure_logs


def main() -> int:
    """Read the rules, then run the stage; the process's exit status."""
    settings = RouterSettings()
    try:
        rules = load_rules(settings.router.rules)
    except InvalidRules as error:
        configure_logs(settings.log, stage=RouterStep.name)
        structlog.get_logger().error("misconfigured", reason=str(error))
        return ExitStatus.MISCONFIGURED
    return run(RouterStep(rules), settings)


if __name__ == "__main__":
    sys.exit(main())
