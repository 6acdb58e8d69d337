import time

import pytest
from prometheus_client import REGISTRY

from shared.stream import batch
from tests.unit.stream.stage import Stage, log_of

COMMIT_S = 0.2


def worked_s() -> float:
    return REGISTRY.get_sample_value("chipsieve_batch_seconds_sum", {"stage": "toy"}) or 0.0


def test_slow_transactions_neither_shrink_the_batches_nor_count_as_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "FULL_BATCH_S", COMMIT_S / 2)
    stage = Stage(log_of([number % 60 for number in range(500)]), batch_size=64)
    stage.transactions.before_commit = lambda: time.sleep(COMMIT_S)  # a broker that is slow
    before = worked_s()
    stage.run()
    sizes = [len(each) for each in stage.step.batches]
    assert min(sizes[4:-1]) > 2 * batch.USUAL_BATCH
    assert worked_s() - before < len(sizes) * COMMIT_S / 4
