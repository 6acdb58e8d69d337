"""``python -m services.router``: one router process."""

import sys

from services.router.rules_file import load_rules
from services.router.settings import RouterSettings
from services.router.step import RouterStep
from shared.stream.entry import enter
from shared.stream.service import run


def _run(settings: RouterSettings) -> int:
    return run(RouterStep(load_rules(settings.router.rules)), settings)


if __name__ == "__main__":
    sys.exit(enter(RouterStep.name, RouterSettings, _run))
