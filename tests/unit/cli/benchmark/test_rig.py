from typing import cast

import pytest

from services.cli.benchmark.rig import BenchmarkFailed, Verdicts, send
from services.gateway.errors import GatewayBusy
from services.gateway.producer import ImageProducer
from tests.unit.gateway.doubles import FakeProducer


def test_a_full_queue_is_waited_for_though_nothing_is_under_way() -> None:
    producer = FakeProducer()
    producer.busy = [GatewayBusy("full"), GatewayBusy("full")]
    send(cast("ImageProducer", producer), "qfn32", [b"a", b"b"], interval=None)
    assert [event.image_bytes for event in producer.published] == [b"a", b"b"]


def test_verdicts_that_cannot_be_read_any_more_are_not_waited_for() -> None:
    verdicts = Verdicts()
    verdicts.fail(ValueError("garbage"))
    with pytest.raises(BenchmarkFailed, match="cannot be read any more: garbage"):
        verdicts.wait_for(1)
