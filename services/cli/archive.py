"""What Kafka still has about a chip: its verdicts, its picture, the features that travelled."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from confluent_kafka import Consumer, Message

from services.cli.reading import read, read_at
from shared.errors import ChipsieveError, Uninspectable
from shared.events import ChipInspected, FeaturesExtracted, ImageCaptured, ImagePointer
from shared.identity import ChipEvent
from shared.kafka import reader_config
from shared.settings import Settings
from shared.stream.record import Received
from shared.topics import Topic, Topics, load_topics
from shared.wire.codec import Codec
from shared.wire.registry import SchemaRegistry

E = TypeVar("E", bound=ChipEvent)
CLOCKS_DIFFER = timedelta(minutes=5)  # between the machine that wrote a record and the one that dates the next


class NoVerdict(ChipsieveError):
    """No verdict on that event, or none on that chip."""


class PictureGone(ChipsieveError):
    """The picture that was judged cannot be had any more."""


@dataclass(frozen=True, slots=True)
class Found:
    """A verdict and where it lies."""

    verdict: ChipInspected
    place: str
    """``topic:partition:offset``."""
    others: int
    """Verdicts on the same event before it: of a chip that was replayed, or of others under the same event id."""


@dataclass(slots=True)
class Archive:
    """The topics of a line, open for reading."""

    settings: Settings
    topics: Topics
    codec: Codec
    consumer: Consumer

    def verdict(self, event_id: str, *, chip: str | None = None, since: datetime | None = None) -> Found:
        """The last verdict on an event.

        Args:
            event_id: of the picture's event.
            chip: the chip's id, where an event id was used for several.
            since: no earlier records are looked through; all that are kept where not given.

        Raises:
            NoVerdict: there is none.
        """
        topic = self.topics.topic_of(ChipInspected)
        found = [
            (message.timestamp()[1], verdict, _place(message))
            for message in self._about(event_id, topic, since)
            if (verdict := self._decoded(message, ChipInspected)) and chip in (None, verdict.chip_id)
        ]
        if not found:
            whose = f"event {event_id}" if chip is None else f"event {event_id} and chip {chip}"
            if since is not None:
                whose += f" since {since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC; without --since all are looked through"
            raise NoVerdict(
                f"{topic.name} has no verdict on {whose}; verdicts are kept {topic.retention_hours} hours, and "
                "`chipsieve tail inspections --from-beginning --json` shows their event ids"
            )
        _, verdict, place = max(found, key=lambda each: each[0])
        return Found(verdict, place, len(found) - 1)

    def captured(self, verdict: ChipInspected) -> ImageCaptured:
        """The event of the picture that was judged; raises `PictureGone`."""
        ((_, found),) = self.pictures([verdict])
        if isinstance(found, PictureGone):
            raise found
        return found

    def pictures(
        self, verdicts: Iterable[ChipInspected]
    ) -> Iterator[tuple[ChipInspected, ImageCaptured | PictureGone]]:
        """Each verdict with its picture's event, or why that cannot be had; in the order in which they lie.

        `PictureGone` is what has expired, cannot be decoded, or is another picture.
        """
        lying: dict[tuple[str, int], list[tuple[ImagePointer, ChipInspected]]] = defaultdict(list)
        for verdict in verdicts:
            if (pointer := verdict.image) is None:
                yield verdict, PictureGone(f"the verdict on {verdict.chip_id} points to no picture")
            else:
                lying[pointer.topic, pointer.partition].append((pointer, verdict))
        for (topic, partition), there in lying.items():
            there.sort(key=lambda each: each[0].offset)
            offsets = [pointer.offset for pointer, _ in there]
            messages = read_at(self.consumer, self.settings.kafka, topic, partition, offsets)
            for (pointer, verdict), message in zip(there, messages, strict=True):
                yield verdict, self._picture(verdict, pointer, message)

    def _picture(
        self, verdict: ChipInspected, pointer: ImagePointer, message: Message | None
    ) -> ImageCaptured | PictureGone:
        where = f"{pointer.topic}:{pointer.partition}:{pointer.offset}"
        if message is None:
            hours = self.topics.topic_of(ImageCaptured).retention_hours
            return PictureGone(f"{where} is not kept any more (pictures stay {hours} hours)")
        try:
            captured = self.codec.decode(message.value(), ImageCaptured)
        except Uninspectable as error:
            return PictureGone(f"{where} holds no picture's event: {error}")
        if (captured.event_id, captured.sha256) != (verdict.event_id, pointer.sha256 or captured.sha256):
            return PictureGone(
                f"the record at {where} is about event {captured.event_id} and another picture: was the topic made "
                "anew?"
            )
        return captured

    def features(self, verdict: ChipInspected) -> FeaturesExtracted | None:
        """The features that the chip was judged by, as they travelled; None where they are not kept any more."""
        if verdict.image is None:
            return None
        topic = self.topics.topic_of(FeaturesExtracted)
        # They came after the picture, and may have waited for a matcher as long as they are kept.
        picture = self._at(verdict.image)
        came = verdict.inspected_at if picture is None else Received.from_message(picture).timestamp
        # What follows from a record lies in the partition of the same number.
        candidates = self._about(verdict.event_id, topic, came - CLOCKS_DIFFER, partition=verdict.image.partition)
        found = None
        for message in candidates:
            features = self._decoded(message, FeaturesExtracted)
            if features is not None and features.image == verdict.image:
                found = features
            if datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC) > verdict.inspected_at + CLOCKS_DIFFER:
                break
        return found

    def _about(
        self, event_id: str, topic: Topic, since: datetime | None, partition: int | None = None
    ) -> Iterator[Message]:
        """Records about an event. By the headers: hardly any of a week's records is."""
        wanted = event_id.encode()
        for message in read(
            self.consumer,
            self.settings.kafka,
            topic,
            from_beginning=since is None,
            follow=False,
            since=since,
            partition=partition,
        ):
            if ("event_id", wanted) in Received.from_message(message).headers:
                yield message

    def _at(self, pointer: ImagePointer) -> Message | None:
        """The record at a position; None where it is not kept, or not there."""
        (found,) = read_at(self.consumer, self.settings.kafka, pointer.topic, pointer.partition, [pointer.offset])
        return found

    def _decoded(self, message: Message, event: type[E]) -> E | None:
        try:
            return self.codec.decode(message.value(), event)
        except Uninspectable:  # garbage that someone put there, under our header's name
            return None


@contextmanager
def opened(settings: Settings) -> Iterator[Archive]:
    """The archive of the line that the settings point to."""
    topics = load_topics(prefix=settings.topic_prefix)
    consumer = Consumer(reader_config(settings.kafka, topics))
    try:
        yield Archive(settings, topics, Codec(SchemaRegistry(settings.registry), topics), consumer)
    finally:
        consumer.close()


def _place(message: Message) -> str:
    return f"{message.topic()}:{message.partition()}:{message.offset()}"
