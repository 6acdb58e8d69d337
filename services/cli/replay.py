"""Sending dead letters back to where they failed, each once, and only as long as their chip has no verdict.

What has been sent back is kept in Kafka as the metadata of a consumer group's committed offsets, and committed in the
same transaction as the records themselves: a replay that is killed, or run again, sends nothing twice. Nor do two at
once: the one that begins later fences the other and reads what that one has sent after it.

The broker keeps these offsets for its `offsets.retention.minutes` after the last replay that sent something. That must
be no less than dead letters are kept (`retention_hours` in schemas/topics.yaml: two weeks). Where it is less, as
Kafka's default of a week is, a later replay sends again what was sent back, and a chip may get a second verdict: its
first is kept for a week too.

A record that is sent back says so in a header (`shared.identity.REPLAY_OF`): the stages drop any other record of a chip
that they have dealt with, and drop this one too where the chip got its verdict meanwhile (`shared.stream.once`).
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from shared.errors import ChipsieveError, ConfigurationError
from shared.events import DeadLetter
from shared.identity import REPLAY_OF, ChipEvent
from shared.kafka import ADMIN_TIMEOUT_S, REFUSALS, remedy, unavailable
from shared.settings import KafkaSettings
from shared.stream.transaction import FENCED
from shared.topics import Topic, Topics
from shared.wire.codec import Codec
from shared.wire.errors import MalformedRecord

# Just after a broker has started, and while groups move to another one, nobody knows a group's offsets.
COORDINATOR_MOVES = {
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
}
COORDINATOR_WAIT_S = 0.1  # a few of these
BATCH = 10  # records a transaction; ten of the largest fit the producer's queue
METADATA_BYTES = 4096  # the broker's offset.metadata.max.bytes, at its default


class ReplayFenced(ChipsieveError):
    """Another replay has begun meanwhile; this one can send no more."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter and its place in the dead letters' topic."""

    letter: DeadLetter
    partition: int
    offset: int


@dataclass(slots=True)
class Ledger:
    """Which dead letters have been sent back: offsets by partition."""

    replayed: dict[int, set[int]] = field(default_factory=dict)

    @classmethod
    def read(cls, consumer: Consumer, settings: KafkaSettings, topic: Topic, partitions: Sequence[int]) -> Self:
        """The ledger as the consumer's group has it.

        Raises `BrokerUnavailable`, and `ConfigurationError` where the user may not ask for the group's offsets.
        """
        places = [TopicPartition(topic.name, partition) for partition in partitions]
        deadline = time.monotonic() + ADMIN_TIMEOUT_S
        while True:
            try:
                committed = consumer.committed(places, timeout=ADMIN_TIMEOUT_S)
            except KafkaException as error:
                if error.args[0].code() not in COORDINATOR_MOVES or time.monotonic() > deadline:
                    raise _refused(consumer, settings) or unavailable(settings, error) from error
                time.sleep(COORDINATOR_WAIT_S)  # the client asks once and leaves it to us
            else:
                return cls({place.partition: parse_ranges(place.metadata or "") for place in committed})

    def has(self, letter: Letter) -> bool:
        """Whether it was sent back before."""
        return letter.offset in self.replayed.get(letter.partition, ())

    def enter(self, letters: Iterable[Letter]) -> None:
        """Note that these are sent back now."""
        for letter in letters:
            self.replayed.setdefault(letter.partition, set()).add(letter.offset)

    def to_commit(self, topic: Topic, kept_from: dict[int, int]) -> list[TopicPartition]:
        """Offsets with the ledger in their metadata.

        `kept_from` is the oldest offset that each partition still keeps; what is gone need not be remembered. Raises
        `ConfigurationError` where single letters out of too many were sent back to be written down.
        """
        places = []
        for partition, offsets in self.replayed.items():
            remembered = {offset for offset in offsets if offset >= kept_from.get(partition, 0)}
            if not remembered:
                continue
            ranges = format_ranges(remembered)
            if len(ranges) > METADATA_BYTES:
                raise ConfigurationError(
                    f"{len(remembered)} dead letters of partition {partition} were picked one by one, more than can be "
                    "remembered; replay the ones between them too, with fewer filters"
                )
            places.append(TopicPartition(topic.name, partition, max(remembered) + 1, ranges))
        return places


def _refused(consumer: Consumer, settings: KafkaSettings) -> ConfigurationError | None:
    """What the broker has against this user's asking for the group; a poll tells it, a call waits in vain."""
    message = consumer.poll(0)
    refusal = None if message is None else message.error()
    if refusal is None or refusal.code() not in REFUSALS:
        return None
    return ConfigurationError(
        f"which dead letters were sent back cannot be read: {refusal.str()}; {remedy(settings, refusal, '')}"
    )


def format_ranges(offsets: set[int]) -> str:
    """Offsets as text, for instance ``3-7,9``."""
    ranges: list[list[int]] = []
    for offset in sorted(offsets):
        if ranges and ranges[-1][1] == offset - 1:
            ranges[-1][1] = offset
        else:
            ranges.append([offset, offset])
    return ",".join(f"{first}-{last}" if first != last else f"{first}" for first, last in ranges)


def parse_ranges(text: str) -> set[int]:
    """The offsets that `format_ranges` wrote down."""
    offsets: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        offsets.update(range(int(first), int(last or first) + 1))
    return offsets


def replayable(letter: DeadLetter, topics: Topics) -> str | None:
    """Why a dead letter cannot be sent back, or None where it can."""
    if letter.topic not in {topic.name for topic in topics.by_name.values()}:
        return f"its topic {letter.topic} is none of this line's"
    if letter.value is None:
        return "it has no value: the record was empty, or too large to be kept whole"
    return None


def without_deadline(letter: DeadLetter, topics: Topics, codec: Codec) -> DeadLetter:
    """The dead letter as if its chip had no deadline, so that it is judged however late it is.

    The payload keeps its deadline where it cannot be decoded; the stage will not get so far as to read it.
    """
    headers = tuple(header for header in letter.headers if header.name != "verdict_by")
    topic = next(topic for topic in topics.by_name.values() if topic.name == letter.topic)
    try:
        event = codec.decode(letter.value, topic.event)
    except MalformedRecord:
        return replace(letter, headers=headers)
    if isinstance(event, ChipEvent):
        event = replace(event, verdict_by=None)
    return replace(letter, headers=headers, value=codec.encode(event))


def replay_headers(letter: DeadLetter) -> list[tuple[str, bytes | None]]:
    """The headers of the record that failed, and which dead letter it is sent back from."""
    original = [(header.name, header.value) for header in letter.headers if header.name != REPLAY_OF]
    return [*original, (REPLAY_OF, letter.dead_letter_id.encode())]


def send_back(
    letters: Sequence[Letter],
    ledger: Ledger,
    *,
    topic: Topic,
    kept_from: dict[int, int],
    consumer: Consumer,
    producer: Producer,
    settings: KafkaSettings,
) -> None:
    """Send dead letters back to their topics in one transaction with the ledger: all of them, or none.

    Each goes to its topic and partition with its key, its value and its headers, and one header more. Raises
    `BrokerUnavailable`, `ReplayFenced`, and `ConfigurationError` as `Ledger.to_commit`.
    """
    ledger.enter(letters)
    places = ledger.to_commit(topic, kept_from)
    try:
        producer.begin_transaction()
        for letter in letters:
            record = letter.letter
            producer.produce(
                record.topic,
                partition=record.partition,
                key=record.key,
                value=record.value,
                headers=replay_headers(record),
            )
        producer.send_offsets_to_transaction(places, consumer.consumer_group_metadata())
        producer.commit_transaction()
    except KafkaException as error:
        raise _not_sent(error, producer, settings) from error


def _not_sent(error: KafkaException, producer: Producer, settings: KafkaSettings) -> ChipsieveError:
    """Why a transaction failed; leaves it open only where the broker has to end it."""
    if error.args[0].txn_requires_abort():
        try:
            producer.abort_transaction()
        except KafkaException as failed:
            error = failed
    if error.args[0].code() in FENCED:
        return ReplayFenced(
            "another replay of these dead letters has begun meanwhile, and this one sends no more: wait for the other, "
            "then run this one again; nothing is sent twice"
        )
    return unavailable(settings, error)
