"""The whole line, two replicas of each stage, loses nothing whatever dies. `make test-fault` is the long version."""

import json
from pathlib import Path

import pytest

from tests.fault.whole_line.run import run
from tests.fault.whole_line.telling import on_standard_error

SEED, CHIPS, KILLS = 1, 600, 8


@pytest.mark.timeout(600)  # two minutes on two idle cores
def test_every_chip_gets_one_verdict_in_its_place_whatever_dies(tmp_path: Path):
    report = run(SEED, CHIPS, KILLS, tmp_path / "run", on_standard_error())
    assert report.is_exact, json.dumps(report.to_json(), indent=1)
    assert report.kills >= KILLS
