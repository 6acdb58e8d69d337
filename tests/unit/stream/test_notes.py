import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.stream import notes as notes_module
from shared.stream.notes import NOTE_AGE_S, NOTE_CHARACTERS, Notes, UnreadableNote, outputs_in
from shared.stream.record import TOMBSTONE, Output

TOPICS = ["settled", "lines"]
BEGUN = range(9)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def output(value: bytes, *, topic: str = "settled", partition: int = 0, key: bytes = b"matcher") -> Output:
    return Output(topic, partition, key, value, headers=[], source=None)


def notes(clock: Clock | None = None) -> Notes:
    return Notes(TOPICS, {"lines"}, clock=clock or Clock())


def noted(of: Notes, partition: int = 0) -> list[bytes]:
    return [each.value for each in outputs_in(of.of(partition), TOPICS, partition)]


def test_what_is_kept_stands_in_the_note_of_its_partition_alone():
    kept = notes()
    assert kept.enter([output(b"a"), output(b"b", partition=1), output(b"c")], BEGUN) == ()
    assert (noted(kept, 0), noted(kept, 1), kept.of(2)) == ([b"a", b"c"], [b"b"], "")


def test_of_a_compacted_topic_the_latest_of_each_key_stands_there():
    kept = notes()
    for key, value in ((b"one", b"1"), (b"two", b"2"), (b"one", b"3")):
        kept.enter([output(value, topic="lines", key=key)], BEGUN)
    assert noted(kept) == [b"2", b"3"]


def test_a_note_that_grows_too_long_becomes_records_in_their_order():
    kept = notes()
    entered, written = [], ()
    while not written:
        entered.append(output(b"%d" % len(entered)))
        assert len(kept.of(0)) <= NOTE_CHARACTERS
        written = kept.enter(entered[-1:], BEGUN)
    assert list(written) == entered
    assert kept.of(0) == ""


def test_what_is_larger_than_any_note_becomes_a_record_at_once():
    large = output(bytes(70_000), key=bytes(70_000))
    assert notes().enter([large], BEGUN) == (large,)


def test_an_old_note_becomes_records_though_nothing_more_is_entered():
    clock = Clock()
    kept = notes(clock)
    kept.enter([output(b"a")], BEGUN)
    clock.now += NOTE_AGE_S - 1
    assert kept.enter([output(b"b"), output(b"c", partition=1)], BEGUN) == ()
    clock.now += 1
    assert [each.value for each in kept.enter([], BEGUN)] == [b"a", b"b"]
    assert (kept.of(0), noted(kept, 1)) == ("", [b"c"])
    assert kept.enter([output(b"d")], BEGUN) == ()


def test_a_note_of_which_nothing_is_left_is_written_no_more():
    clock = Clock()
    kept = notes(clock)
    kept.enter([output(b"a")], BEGUN)
    clock.now += NOTE_AGE_S
    assert kept.enter([], BEGUN)
    clock.now += 100 * NOTE_AGE_S
    assert kept.enter([], BEGUN) == ()


def test_a_partition_that_has_not_begun_yet_keeps_its_note():
    kept = notes()
    kept.begin(0, [output(b"a")])
    assert kept.enter([], {1}) == ()
    assert noted(kept) == [b"a"]


def test_the_note_of_the_worker_before_is_written_first_however_often_it_is_begun_with():
    before, after = notes(), notes()
    before.enter([output(b"a")], BEGUN)
    after.begin(0, outputs_in(before.of(0), TOPICS, 0))
    assert noted(after) == [b"a"]
    assert [each.value for each in after.enter([output(b"b")], BEGUN)] == [b"a", b"b"]
    assert after.of(0) == ""


def test_what_is_forgotten_is_in_no_note():
    kept = notes()
    kept.enter([output(b"a"), output(b"b", partition=1)], BEGUN)
    kept.forget([0, 7])
    assert (kept.of(0), noted(kept, 1)) == ("", [b"b"])


@given(st.lists(st.builds(output, st.binary(), topic=st.sampled_from(TOPICS), key=st.binary(max_size=40)), max_size=9))
def test_a_note_holds_what_was_entered_byte_for_byte(kept: list[Output]):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(notes_module, "NOTE_BYTES", 10**9)
        whole = Notes(TOPICS, (), clock=Clock())
        whole.enter(kept, BEGUN)
    assert list(outputs_in(whole.of(0), TOPICS, 0)) == kept


@pytest.mark.parametrize("note", ["2:AAAA", "by hand", "1:?", "1:AAAA", "1:/wAAAAAAAA=="])
def test_metadata_that_is_no_note_is_refused(note: str):
    with pytest.raises(UnreadableNote):
        outputs_in(note, TOPICS, 0)


def test_that_a_key_is_forgotten_is_noted_in_its_place():
    kept = notes()
    kept.enter([output(b"1", topic="lines", key=b"one"), output(b"2", topic="lines", key=b"two")], BEGUN)
    kept.enter([output(TOMBSTONE, topic="lines", key=b"one")], BEGUN)
    assert noted(kept) == [b"2", TOMBSTONE]
