"""``python -m services.matcher``: one matcher process."""

import sys

from services.matcher.settings import MatcherSettings
from services.matcher.step import MatcherStep
from shared.bank.cache import BankCache
from shared.bank.store import BankStore
from shared.stream.service import run

if __name__ == "__main__":
    settings = MatcherSettings()
    banks = BankCache(BankStore(settings.redis), max_banks=settings.matching.max_banks)
    sys.exit(run(MatcherStep(banks), settings))
