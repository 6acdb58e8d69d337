"""``python -m services.extractor``: one extractor process."""

import sys

from services.extractor.settings import ExtractorSettings
from services.extractor.step import ExtractorStep
from shared.stream.service import run

if __name__ == "__main__":
    settings = ExtractorSettings()
    sys.exit(run(ExtractorStep(settings), settings))
