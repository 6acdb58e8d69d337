"""Events to the records that carry them: topic, partition, key, identity and verdict in headers, within the limit."""

from collections.abc import Iterable

from shared import tracing
from shared.events import ChipsSettled, Event
from shared.identity import MAX_ID_LENGTH, REPLAY_OF, ChipEvent, Identity, cut, headers_of, to_headers
from shared.stream.errors import OutputTooLarge
from shared.stream.record import TOMBSTONE, Output, Received
from shared.stream.step import Forgotten, Kept
from shared.topics import Topics
from shared.wire.codec import Codec


class Encoder:
    """Makes the records of a stage. All of its methods raise `OutputTooLarge` and what `Codec.encode` raises."""

    def __init__(self, codec: Codec, topics: Topics) -> None:
        self._codec = codec
        self._topics = topics

    def following(self, received: Received, identity: Identity, events: Iterable[Event]) -> tuple[Output, ...]:
        """The records that follow from a record about a chip."""
        carried = [(REPLAY_OF, _carried(of))] if (of := received.replay_of) else []
        if trace := received.trace:
            carried.append(tracing.to_header(tracing.onward(trace, str(received.source))))
        outputs = []
        for event in events:
            headers = headers_of(event) if isinstance(event, ChipEvent) else to_headers(identity)
            outputs.append(self._output(event, received.source.partition, [*headers, *carried], received))
        return tuple(outputs)

    def aside(self, events: Kept) -> tuple[Output, ...]:
        """Records that follow from no single record, but belong to a partition."""
        return tuple(
            self._tombstone(event, partition)
            if isinstance(event, Forgotten)
            else self._output(event, partition, [], None)
            for partition, group in events.items()
            for event in group
        )

    def _tombstone(self, forgotten: Forgotten, partition: int) -> Output:
        topic = self._topics.topic_of(forgotten.event).name
        return Output(topic, partition, forgotten.key.encode(), TOMBSTONE, headers=[], source=None)

    def _output(
        self, event: Event, partition: int, headers: list[tuple[str, bytes]], follows: Received | None
    ) -> Output:
        topic = self._topics.topic_of(type(event))
        output = Output(
            topic=topic.name,
            partition=partition,
            key=(event.stage if isinstance(event, ChipsSettled) else event.line_id).encode(),
            value=self._codec.encode(event),
            headers=headers,
            source=follows.source if follows else None,
        )
        if output.size > topic.max_message_bytes:
            raise OutputTooLarge(
                f"{event.SCHEMA} takes {output.size} bytes, topic {topic.name} at most {topic.max_message_bytes} "
                "(max_message_bytes in schemas/topics.yaml)"
            )
        return output


def _carried(value: bytes) -> bytes:
    """A header's value as what follows carries it on."""
    return value if len(value) <= MAX_ID_LENGTH else cut(value.decode("utf-8", "replace")).encode()
