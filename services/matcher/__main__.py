"""``python -m services.matcher``: one matcher process."""

import sys

from services.matcher.settings import MatcherSettings
from services.matcher.step import MatcherStep
from shared.stream.service import run

if __name__ == "__main__":
    settings = MatcherSettings()
    sys.exit(run(MatcherStep(settings), settings))
