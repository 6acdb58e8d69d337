"""``python -m services.extractor``: one extractor process."""

import sys

from services.extractor.engines import EngineCache
from services.extractor.settings import ExtractorSettings
from services.extractor.step import ExtractorStep
from shared.bank.recipe_cache import RecipeCache
from shared.bank.store import BankStore
from shared.stream.entry import enter
from shared.stream.service import run


def _run(settings: ExtractorSettings) -> int:
    recipes = RecipeCache(BankStore(settings.redis))
    return run(ExtractorStep(recipes, EngineCache(settings.engine, recipes.graphs), settings.images), settings)


if __name__ == "__main__":
    sys.exit(enter(ExtractorStep.name, ExtractorSettings, _run))
