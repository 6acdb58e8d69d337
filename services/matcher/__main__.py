"""``python -m services.matcher``: one matcher process."""

import sys

from threadpoolctl import threadpool_limits

from services.matcher.settings import MatcherSettings
from services.matcher.step import MatcherStep
from shared.bank.bank_cache import BankCache
from shared.bank.store import BankStore
from shared.stream.entry import enter
from shared.stream.service import run


def _run(settings: MatcherSettings) -> int:
    # Threads of BLAS wait for each other by spinning: on two cores the second one cost a chip 2 ms and gained nothing.
    threadpool_limits(settings.matching.threads)
    held = settings.matching
    banks = BankCache(BankStore(settings.redis), max_banks=held.max_banks, max_bytes=held.banks_mib << 20)
    return run(MatcherStep(banks), settings)


if __name__ == "__main__":
    sys.exit(enter(MatcherStep.name, MatcherSettings, _run))
