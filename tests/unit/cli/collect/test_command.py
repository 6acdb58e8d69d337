from pathlib import Path

import pytest

from services.cli.collect.command import NAMED, _tell
from services.cli.collect.folder import Collection


def test_what_came_what_was_there_and_what_is_gone_is_counted_and_some_of_it_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = [f"chip {number} is gone" for number in range(NAMED + 1)]
    _tell(Collection(tmp_path), found=20, new=15, missing=missing, as_json=False)
    told = capsys.readouterr()
    assert told.out == f"4 pictures collected in {tmp_path}, 5 were there before, 11 could not be had\n"
    assert told.err.splitlines() == missing[:NAMED]
