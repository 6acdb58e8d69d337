from services.cli.verdicts import Chip
from shared.events import ChipInspected, Verdict
from tests.events_of_chips import NOON, identity


def verdict(line_id: str) -> ChipInspected:
    return ChipInspected(**identity(1, line_id=line_id).fields(), verdict=Verdict.PASS, inspected_at=NOON)


def test_the_verdict_of_another_lines_chip_with_the_same_ids_is_not_this_chips() -> None:
    assert Chip.of(verdict("L1")) == Chip.of(verdict("L1"))
    assert Chip.of(verdict("L1")) != Chip.of(verdict("L6"))
