"""``python -m services.router``: one router process."""

import sys

from services.router.rules_file import load_rules
from services.router.settings import RouterSettings
from services.router.step import RouterStep
from shared.stream.service import run

if __name__ == "__main__":
    settings = RouterSettings()
    sys.exit(run(RouterStep(load_rules(settings.router.rules)), settings))
