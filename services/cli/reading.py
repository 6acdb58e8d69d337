"""Reading a topic for people: from the beginning or from now, to its end or for ever, without joining a group."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import TypeVar

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from shared.errors import ConfigurationError
from shared.kafka import ADMIN_TIMEOUT_S, BrokerUnavailable, remedy, unavailable
from shared.settings import KafkaSettings
from shared.topics import Topic

T = TypeVar("T")

FAR = 500  # records, that are read sooner than another place is asked for

POLL_S = 0.1  # how late a deadline or Ctrl-C may be noticed; a record ends the wait at once
# Who reads what is there waits for its end. A partition that gets another leader goes on within some ten seconds.
SILENCE_S = 30.0
# While a topic is new, and while leaders change: the client hears of the new one, but leaves it to us to ask again.
LEADER_MOVES = {KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE}
LEADER_WAIT_S = 0.1  # a few of these


def partitions_of(consumer: Consumer, settings: KafkaSettings, topic: Topic) -> list[int]:
    """The topic's partitions as the broker knows them.

    Raises `BrokerUnavailable`, and `ConfigurationError` where the topic does not exist.
    """
    try:
        found = consumer.list_topics(topic.name, timeout=ADMIN_TIMEOUT_S).topics[topic.name]
    except KafkaException as error:
        raise unavailable(settings, error) from error
    if found.error is not None:
        raise ConfigurationError(
            f"topic {topic.name} at {settings.bootstrap_servers}: {found.error.str()}; "
            f"{remedy(settings, found.error, 'run `chipsieve topics create`')}"
        )
    return sorted(found.partitions)


def read(
    consumer: Consumer,
    settings: KafkaSettings,
    topic: Topic,
    *,
    from_beginning: bool,
    follow: bool,
    since: datetime | None = None,
    partition: int | None = None,
    timeout_s: float | None = None,
) -> Iterator[Message]:
    """Committed records of a topic, each partition in order; from the beginning, from `since`, or from now on.

    Of one `partition` alone where it is given. Ends at `timeout_s` after the call; without `follow` also where
    everything that there was at the call has been read. `consumer` is made from `shared.kafka.reader_config`. Raises as
    `partitions_of` does; without `follow` also `BrokerUnavailable` where nothing more comes before that.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    unread = set(partitions_of(consumer, settings, topic) if partition is None else [partition])
    # Not only where the client tells that it is at an end: to a partition of a line that runs, more has come each time.
    ends = {} if follow else {number: bounds(consumer, settings, topic.name, number)[1] for number in unread}
    try:
        consumer.assign(
            [_start(consumer, topic, number, since=since, from_beginning=from_beginning) for number in unread]
        )
    except KafkaException as error:
        raise unavailable(settings, error) from error
    silent_s = 0.0
    while (follow or unread) and (deadline is None or time.monotonic() < deadline):
        message = consumer.poll(POLL_S)
        if message is None:
            silent_s += POLL_S
            if not follow and silent_s >= SILENCE_S:
                raise BrokerUnavailable(
                    f"nothing more came for {SILENCE_S:.0f} s of partitions {sorted(unread)} of {topic.name} at "
                    f"{settings.bootstrap_servers}, which are not read to their ends: see whether they have leaders"
                )
            continue
        silent_s = 0.0
        problem = message.error()
        if problem is None:
            end = ends.get(message.partition(), math.inf)
            if message.offset() + 1 >= end:
                unread.discard(message.partition())
            if message.offset() < end:
                yield message
        elif problem.code() == KafkaError._PARTITION_EOF:
            unread.discard(message.partition())
        else:
            _tell_unless_it_passes(settings, topic.name, problem)


def read_at(
    consumer: Consumer, settings: KafkaSettings, topic: str, partition: int, offsets: Iterable[int]
) -> Iterator[Message | None]:
    """The records at offsets of a partition, in ascending order; None for one that is not kept, or not committed.

    Raises `BrokerUnavailable` and `ConfigurationError`, as `read` does.
    """
    first, end = bounds(consumer, settings, topic, partition)
    latest: Message | None = None
    for offset in offsets:
        if not first <= offset < end:
            yield None
            continue
        if latest is None or not 0 <= offset - latest.offset() <= FAR:
            consumer.assign([TopicPartition(topic, partition, offset)])
            latest = None
        while latest is None or latest.offset() < offset:
            latest = _next(consumer, settings, topic, partition)
            if latest is None:  # nothing but a transaction's marks until the end
                break
        yield latest if latest is not None and latest.offset() == offset else None


def _next(consumer: Consumer, settings: KafkaSettings, topic: str, partition: int) -> Message | None:
    """The next record of the partition; None at its end."""
    for _ in range(round(SILENCE_S / POLL_S)):
        message = consumer.poll(POLL_S)
        if message is None:
            continue
        problem = message.error()
        if problem is None:
            return message
        if problem.code() == KafkaError._PARTITION_EOF:
            return None
        _tell_unless_it_passes(settings, topic, problem)
    raise BrokerUnavailable(
        f"nothing came for {SILENCE_S:.0f} s of partition {partition} of {topic} at {settings.bootstrap_servers}: see "
        "whether it has a leader"
    )


def _tell_unless_it_passes(settings: KafkaSettings, topic: str, problem: KafkaError) -> None:
    if not problem.retriable():
        raise ConfigurationError(
            f"topic {topic} cannot be read: {problem.str()}; "
            f"{remedy(settings, problem, 'the log of the broker may say more')}"
        )


def bounds(consumer: Consumer, settings: KafkaSettings, topic: str, partition: int) -> tuple[int, int]:
    """Where a partition's committed records begin and end now. Raises `BrokerUnavailable`."""
    place = TopicPartition(topic, partition)
    try:
        first, end = _answered(lambda: consumer.get_watermark_offsets(place, timeout=ADMIN_TIMEOUT_S))
    except KafkaException as error:
        raise BrokerUnavailable(
            f"partition {partition} of {topic} at {settings.bootstrap_servers} does not tell its end "
            f"({error.args[0].str()}): {remedy(settings, error.args[0], 'see whether it has a leader')}"
        ) from error
    return first, end


def _answered(ask: Callable[[], T]) -> T:
    """What a partition's leader answers, whoever that becomes. Raises `KafkaException`."""
    deadline = time.monotonic() + ADMIN_TIMEOUT_S
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() not in LEADER_MOVES or time.monotonic() > deadline:
                raise
            time.sleep(LEADER_WAIT_S)  # nothing tells when it has moved


def _start(
    consumer: Consumer, topic: Topic, partition: int, *, since: datetime | None, from_beginning: bool
) -> TopicPartition:
    place = TopicPartition(topic.name, partition, OFFSET_BEGINNING)
    if since is not None:
        place.offset = max(0, int(since.timestamp() * 1000))  # below it, the client takes it for something else
        (place,) = _answered(lambda: consumer.offsets_for_times([place], timeout=ADMIN_TIMEOUT_S))
        if place.error:  # told here alone, and the offset is then that of the end
            raise KafkaException(place.error)
    elif not from_beginning:
        # Asked for now: OFFSET_END would be resolved at the first fetch, and miss what is written until then.
        _, place.offset = _answered(lambda: consumer.get_watermark_offsets(place, timeout=ADMIN_TIMEOUT_S))
    return place
