import hashlib
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from shared.events import ChipsSettled, SettledChip
from shared.stream.once import SettledChips
from tests.events_of_chips import identity

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def settled_chips(limit: int = 100) -> SettledChips:
    return SettledChips("toy", limit)


def test_a_chip_is_taken_once():
    chips = settled_chips()
    assert chips.takes(0, identity(1), replayed=False)
    chips.enter(0, identity(1), uninspected=False)
    assert not chips.takes(0, identity(1), replayed=False)
    assert chips.takes(0, identity(2), replayed=False)


def test_two_chips_with_one_event_id_are_both_taken():
    chips = settled_chips()
    chips.enter(0, identity(1), uninspected=False)
    assert chips.takes(0, identity(1, chip_id="another"), replayed=False)


def test_chips_of_two_lines_are_two_chips_whatever_their_ids():
    chips = settled_chips()
    chips.enter(0, identity(1, line_id="L1"), uninspected=False)
    assert chips.takes(0, identity(1, line_id="L6"), replayed=False)


def kept_by_an_older_version(number: int, *, uninspected: bool) -> ChipsSettled:
    chip = identity(number)
    digest = hashlib.blake2b(f"{chip.event_id}\0{chip.chip_id}".encode(), digest_size=16).digest()
    return ChipsSettled(stage="toy", chips=(SettledChip(digest=digest, uninspected=uninspected),), settled_at=NOW)


def test_a_chip_that_an_older_version_dealt_with_is_not_taken_again():
    chips = settled_chips()
    chips.recall(0, [kept_by_an_older_version(1, uninspected=False), kept_by_an_older_version(2, uninspected=True)])
    assert not chips.takes(0, identity(1), replayed=False)
    assert not chips.takes(0, identity(1), replayed=True)
    assert chips.takes(0, identity(2), replayed=True)
    chips.enter(0, identity(2), uninspected=False)
    assert not chips.takes(0, identity(2), replayed=True), "the latest word counts"


def test_a_replayed_chip_is_taken_as_long_as_it_could_not_be_inspected():
    chips = settled_chips()
    chips.enter(0, identity(1), uninspected=True)
    assert not chips.takes(0, identity(1), replayed=False)
    assert chips.takes(0, identity(1), replayed=True)
    chips.enter(0, identity(1), uninspected=False)
    assert not chips.takes(0, identity(1), replayed=True)


def test_of_each_partition_the_latest_chips_are_remembered():
    chips = settled_chips(limit=3)
    for number in (1, 2, 3, 1, 4):  # 1 comes again by a replay
        chips.enter(0, identity(number), uninspected=True)
    assert [chips.takes(0, identity(number), replayed=False) for number in (1, 2, 3, 4)] == [False, True, False, False]
    assert chips.takes(1, identity(4), replayed=False)


def test_what_is_forgotten_is_neither_remembered_nor_written_down():
    chips = settled_chips()
    chips.enter(0, identity(1), uninspected=False)
    chips.enter(1, identity(2), uninspected=False)
    chips.forget([0])
    assert chips.takes(0, identity(1), replayed=False)
    assert list(chips.to_keep(NOW)) == [1]


def test_what_was_written_down_once_is_not_written_down_again():
    chips = settled_chips()
    chips.enter(0, identity(1), uninspected=False)
    assert len(chips.to_keep(NOW)[0][0].chips) == 1
    assert chips.to_keep(NOW) == {}


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=30), st.integers(1, 5), st.integers(1, 12))
def test_a_successor_that_reads_back_what_was_written_down_takes_the_same_chips(entered, batch, limit):
    before, written = settled_chips(limit), []
    for start in range(0, len(entered), batch):
        for number, uninspected in entered[start : start + batch]:
            before.enter(0, identity(number), uninspected=uninspected)
        written += before.to_keep(NOW).get(0, [])
    after = settled_chips(limit)
    after.recall(0, written)
    for number in range(10):
        for replayed in (False, True):
            assert after.takes(0, identity(number), replayed=replayed) == before.takes(
                0, identity(number), replayed=replayed
            )
