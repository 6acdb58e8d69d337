from pathlib import Path
from typing import cast
from unittest.mock import MagicMock

import pytest

from services.cli.collect.command import _tell
from services.cli.collect.folder import Collection


def test_what_could_not_be_had_does_nothing_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    collection = cast("Collection", MagicMock(folder=Path("review")))
    _tell(collection, found=1, new=1, missing=["chip \x1b[2J of line-1: gone"], as_json=False)
    assert capsys.readouterr().err == "chip \\x1b[2J of line-1: gone\n"
