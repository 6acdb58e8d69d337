"""Which chips have a verdict that says something, PASS or REJECT."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from confluent_kafka import Consumer

from services.cli.reading import read
from shared.errors import Uninspectable
from shared.events import ChipInspected, DeadLetter, Verdict
from shared.kafka import reader_config
from shared.settings import Settings
from shared.stream.record import Received
from shared.topics import Topics
from shared.wire.codec import Codec

# A verdict follows the failure, but by another machine's clock.
CLOCKS_DIFFER = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Chip:
    """A picture of a chip."""

    line_id: str
    event_id: str
    chip_id: str

    @classmethod
    def of(cls, about: DeadLetter | ChipInspected) -> "Chip":
        """The chip that something is about."""
        return cls(about.line_id, about.event_id, about.chip_id)


def judged(chips: Collection[Chip], since: datetime, settings: Settings, topics: Topics, codec: Codec) -> set[Chip]:
    """Those of the chips that were passed or rejected since then.

    Raises `BrokerUnavailable`, `RegistryUnavailable`.
    """
    found: set[Chip] = set()
    event_ids = {chip.event_id.encode() for chip in chips}
    consumer = Consumer(reader_config(settings.kafka, topics))
    topic = topics.topic_of(ChipInspected)
    try:
        for message in read(
            consumer, settings.kafka, topic, from_beginning=False, follow=False, since=since - CLOCKS_DIFFER
        ):
            # By the headers, since hardly any of a week's verdicts is about one of these chips.
            if dict(Received.from_message(message).headers).get("event_id") not in event_ids:
                continue
            try:
                verdict = codec.decode(message.value(), ChipInspected)
            except Uninspectable:  # no verdict then
                continue
            if verdict.verdict is not Verdict.UNINSPECTED:
                found.add(Chip.of(verdict))
    finally:
        consumer.close()
    return found & set(chips)
