"""``python -m services.extractor``: one extractor process."""

import sys

from services.extractor.engines import EngineCache
from services.extractor.settings import ExtractorSettings
from services.extractor.step import ExtractorStep
from shared.bank.cache import RecipeCache
from shared.bank.store import BankStore
from shared.stream.service import run

if __name__ == "__main__":
    settings = ExtractorSettings()
    step = ExtractorStep(RecipeCache(BankStore(settings.redis)), EngineCache(settings.engine), settings.images)
    sys.exit(run(step, settings))
