"""``python -m services.matcher``: one matcher process."""

import sys

from services.matcher.settings import MatcherSettings
from services.matcher.step import MatcherStep
from shared.bank.cache import BankCache
from shared.bank.store import BankStore
from shared.stream.entry import enter
from shared.stream.service import run


def _run(settings: MatcherSettings) -> int:
    banks = BankCache(BankStore(settings.redis), max_banks=settings.matching.max_banks)
    return run(MatcherStep(banks), settings)


if __name__ == "__main__":
    sys.exit(enter(MatcherStep.name, MatcherSettings, _run))
