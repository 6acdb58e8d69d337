"""A stage that is told to stop under load: it ends by itself, and its successor has nothing to do again."""

import uuid

import pytest

from services.cli.line import STAGES
from shared.stream.errors import ExitStatus
from tests.integration.line.conftest import PATIENCE_SECONDS, RunningLine, captured, good_chip

CHIPS = 150
GOOD = good_chip()


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_told_to_stop_under_load_ends_and_leaves_nothing_to_do_again(line: RunningLine, stage: str) -> None:
    line_id = f"line-{uuid.uuid4().hex[:8]}"
    chips = [captured(line_id, GOOD) for _ in range(CHIPS)]
    stopped = next(service for service in line.services.services if service.name == stage)
    for chip in chips:
        line.send(chip)
    line.verdicts(line_id, 20)
    stopped.process.terminate()
    assert stopped.process.wait(PATIENCE_SECONDS) == ExitStatus.DRAINED
    log = stopped.log.read_text()

    line.services.services.remove(stopped)
    line.services.start(stage, worker=stopped.worker)
    verdicts = line.verdicts(line_id, CHIPS)

    assert [verdict.event_id for verdict in verdicts] == [chip.event_id for chip in chips]
    last_words = log[log.rindex('"event": "stopping"') :]
    assert '"event": "drained"' in last_words
    assert "batch_dropped" not in last_words, "work was thrown away, which the successor did again"
