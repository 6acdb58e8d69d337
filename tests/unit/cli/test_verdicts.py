from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from services.cli import verdicts
from services.cli.verdicts import CLOCKS_DIFFER, Chip, judged
from shared.events import ChipInspected, Verdict
from shared.settings import Settings
from shared.topics import load_topics
from shared.wire.codec import Codec
from tests.events_of_chips import NOON, identity
from tests.registry_double import RegistryInMemory

TOPICS = load_topics()
CODEC = Codec(RegistryInMemory(), TOPICS)


def verdict(line_id: str = "L1", number: int = 1, said: Verdict = Verdict.PASS) -> ChipInspected:
    return ChipInspected(**identity(number, line_id=line_id).fields(), verdict=said, inspected_at=NOON)


def test_the_verdict_of_another_lines_chip_with_the_same_ids_is_not_this_chips() -> None:
    assert Chip.of(verdict("L1")) == Chip.of(verdict("L1"))
    assert Chip.of(verdict("L1")) != Chip.of(verdict("L6"))


def record(said: ChipInspected, value: bytes | None = None) -> Any:
    headers = [("event_id", said.event_id.encode())]
    value = value or CODEC.encode(said)
    answers = {"topic": "", "partition": 0, "offset": 0, "key": b"", "value": value, "timestamp": (1, 0)}
    calls = {name: lambda answer=answer: answer for name, answer in (answers | {"headers": headers}).items()}
    return SimpleNamespace(**calls)


@pytest.fixture
def judged_among(monkeypatch: pytest.MonkeyPatch) -> Callable[..., set[Chip]]:
    """`judged` of these chips where the topic has these records since five minutes before noon."""

    def found(chips: list[ChipInspected], *records: Any) -> set[Chip]:
        def read(*_: object, since: Any, from_beginning: bool, follow: bool) -> Iterator[Any]:
            assert (since, from_beginning, follow) == (NOON - CLOCKS_DIFFER, False, False)
            yield from records

        monkeypatch.setattr(verdicts, "Consumer", lambda _: SimpleNamespace(close=lambda: None))
        monkeypatch.setattr(verdicts, "read", read)
        return judged([Chip.of(chip) for chip in chips], NOON, Settings(), TOPICS, CODEC)

    return found


def test_a_chip_is_judged_that_was_passed_or_rejected_since(judged_among: Callable[..., set[Chip]]) -> None:
    passed, rejected, neither, unheard = (verdict(number=number) for number in range(4))

    assert judged_among(
        [passed, rejected, neither, unheard],
        record(passed),
        record(verdict(number=1, said=Verdict.REJECT)),
        record(verdict(number=2, said=Verdict.UNINSPECTED)),
        record(unheard, b"garbage"),
    ) == {Chip.of(passed), Chip.of(rejected)}


def test_a_chip_is_not_judged_by_verdicts_on_others(judged_among: Callable[..., set[Chip]]) -> None:
    assert judged_among([verdict()], record(verdict("L6")), record(verdict(number=2))) == set()
