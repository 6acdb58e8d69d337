"""What a stage keeps of a partition, noted beside the offset that it commits there, until it is worth a record.

A record in one more partition costs a transaction a request, the broker's leave and a marker, far more than its bytes:
written out after each batch, what the stages keep would be half of all that they send. The offset of the partition is
committed anyway, with up to 4 kB of metadata: what is kept goes there first, and to its topic once that is full or has
stood there for a while, whether or not another chip comes. Both take effect with the transaction, and are read back
together (`shared.stream.recall`).
"""

import math
import struct
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from shared.stream.record import Output

# Of the 4096 characters that a broker takes at its default (offset.metadata.max.bytes). Longer ones would be written
# out less often, and each commit would carry more: the log of the offsets is read whole by a broker that starts.
NOTE_CHARACTERS = 2000
# How long a note stands at most: so much is unknown to whoever reads the topic alone, as a worker of an older version.
NOTE_AGE_S = 10.0
NOTE_BYTES = NOTE_CHARACTERS * 3 // 4  # base64
VERSION = "1:"

_HEAD = struct.Struct(">BHI")  # which of the stage's topics, the key's length, the value's


class UnreadableNote(ValueError):
    """The metadata of an offset that no worker of this stage has written."""


@dataclass(slots=True)
class _Note:
    since: float
    outputs: list[Output] = field(default_factory=list)


class Notes:
    """The notes of one worker's partitions, as the next commit is to have them. Used by the main thread.

    Args:
        topics: Kafka's names of the topics that the stage reads back, always in the same order.
        compacted: those of which only the latest record of each key counts.
        clock: seconds, monotonic.
    """

    def __init__(
        self, topics: Sequence[str], compacted: Collection[str], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._topics = topics
        self._compacted = compacted
        self._clock = clock
        self._notes: dict[int, _Note] = {}

    def begin(self, partition: int, noted: Iterable[Output]) -> None:
        """Begin with a partition: this is what its note held when it was committed last.

        Nobody knows for how long, so it is due: otherwise repeated rebalances could postpone it for ever.
        """
        self._notes.pop(partition, None)
        if outputs := list(noted):
            self._notes[partition] = _Note(-math.inf, outputs)

    def forget(self, partitions: Iterable[int]) -> None:
        """Drop what is noted of partitions: they go elsewhere, or are read again from the last commit."""
        for partition in partitions:
            self._notes.pop(partition, None)

    def enter(self, kept: Sequence[Output], begun: Container[int]) -> tuple[Output, ...]:
        """Note what is to be kept; what comes back is to be written to its topics in the same transaction.

        That is what grew too long, and of all partitions that have `begun` what is too old.
        """
        for output in kept:
            note = self._notes.setdefault(output.partition, _Note(self._clock()))
            if output.topic in self._compacted:
                note.outputs = [each for each in note.outputs if (each.topic, each.key) != (output.topic, output.key)]
            note.outputs.append(output)
        due = {partition for partition in {output.partition for output in kept} if self._is_long(partition)}
        latest = self._clock() - NOTE_AGE_S
        due |= {partition for partition, note in self._notes.items() if note.since <= latest and partition in begun}
        return tuple(output for partition in sorted(due) for output in self._notes.pop(partition).outputs)

    def _is_long(self, partition: int) -> bool:
        outputs = self._notes[partition].outputs
        return sum(_HEAD.size + len(output.key) + len(output.value) for output in outputs) > NOTE_BYTES

    def of(self, partition: int) -> str:
        """The note to commit with the partition's offset; empty where there is none."""
        note = self._notes.get(partition)
        if note is None:
            return ""
        return VERSION + b64encode(b"".join(map(self._packed, note.outputs))).decode()

    def _packed(self, output: Output) -> bytes:
        head = _HEAD.pack(self._topics.index(output.topic), len(output.key), len(output.value))
        return head + output.key + output.value


def outputs_in(note: str, topics: Sequence[str], partition: int) -> tuple[Output, ...]:
    """The records that a partition's note holds, oldest first; `topics` as in `Notes`.

    Raises:
        UnreadableNote: it is no such note.
    """
    if not note:
        return ()
    if not note.startswith(VERSION):
        raise UnreadableNote(f"a note of an unknown form: {note[:20]!r}")
    try:
        return tuple(_unpacked(b64decode(note.removeprefix(VERSION), validate=True), topics, partition))
    except (ValueError, IndexError, struct.error) as error:
        raise UnreadableNote(f"a note that cannot be read ({error}): {note[:20]!r}") from error


def _unpacked(packed: bytes, topics: Sequence[str], partition: int) -> Iterator[Output]:
    at = 0
    while at < len(packed):
        topic, key_length, value_length = _HEAD.unpack_from(packed, at)
        key_at = at + _HEAD.size
        value_at = key_at + key_length
        at = value_at + value_length
        if at > len(packed):
            raise ValueError(f"it ends {at - len(packed)} bytes early")
        yield Output(topics[topic], partition, packed[key_at:value_at], packed[value_at:at], headers=[], source=None)
