"""Events to bytes and back: Avro in Confluent's wire format (a zero byte, the schema's id, the record).

A record is written with this version's schema, and read with the schema it was written with, resolved to this
version's; so stages and consumers of different versions understand each other as far as the registry's compatibility
rule goes.
"""

import io
import json
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import fastavro

from shared.events import Event
from shared.topics import EVENTS, Topic, Topics
from shared.wire.errors import MalformedRecord, RegistryUnavailable, UnwritableEvent
from shared.wire.records import Convert, from_record, to_record
from shared.wire.registry import schema_source

E = TypeVar("E", bound=Event)

MAGIC = 0
PREFIX = struct.Struct(">BI")  # magic byte, schema id
# A registry gives an id when a schema is registered, before anybody can write with it: one that it does not know it
# will hardly know soon. Who floods a topic with records of such an id must not have the registry asked for each.
ASK_AGAIN_S = 10.0
# One that does not answer takes seconds to say nothing: the records of a batch must not wait for that one after the
# other, and those of other partitions with them.
ASK_AWAY_AGAIN_S = 5.0
UNREADABLE_REMEMBERED = 1000  # ids; whoever makes them up must not fill the memory
MAX_SCHEMA_ID = 2**31 - 1  # asked for more, a registry whose ids are Java's may not even answer as one


class SchemaIds(Protocol):
    """What the codec asks a registry; `shared.wire.registry.SchemaRegistry` is the real one."""

    def id_of(self, topic: Topic) -> int:
        """Id of this version of the topic's schema."""
        ...

    def schema_of(self, schema_id: int) -> dict[str, Any] | None:
        """The Avro schema with an id, None where there is none."""
        ...


@dataclass(frozen=True, slots=True)
class _Ours:
    """How this version writes and reads an event."""

    schema: Any
    to_record: Convert
    from_record: Convert


@dataclass(frozen=True, slots=True)
class _Written:
    """A schema that records were written with."""

    event: str
    schema: Any
    reader: Any
    """Ours, to resolve to; None where they are the same, which reads faster."""


class Codec:
    """Encodes and decodes events.

    Our schemas and those that can be read are asked for once, others again after `ASK_AGAIN_S`, or `ASK_AWAY_AGAIN_S`
    where the registry did not answer; nothing else leaves the process.
    """

    def __init__(self, registry: SchemaIds, topics: Topics, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._registry = registry
        self._topics = topics
        self._clock = clock
        self._ours = {
            name: _Ours(_parsed(json.loads(schema_source(event))), to_record(event), from_record(event))
            for name, event in EVENTS.items()
        }
        self._prefixes: dict[str, bytes] = {}
        self._written: dict[int, _Written] = {}
        self._unreadable: dict[int, tuple[float, type[MalformedRecord | RegistryUnavailable], str]] = {}
        """Ids of which no record can be read → until when to give the same answer again. No exception is kept: its
        traceback would keep whole batches."""

    def prepare(self) -> None:
        """Ask for the ids of all our schemas now, so that a stage learns before its first record what is missing.

        Raises `RegistryUnavailable`, `SchemaNotRegistered`.
        """
        for event in EVENTS.values():
            self._prefix(event)

    def encode(self, event: Event) -> bytes:
        """The event as the value of a record.

        Raises `UnwritableEvent`, `RegistryUnavailable`, `SchemaNotRegistered`.
        """
        ours = self._ours[event.SCHEMA]
        out = io.BytesIO()
        out.write(self._prefix(type(event)))
        try:
            fastavro.schemaless_writer(out, ours.schema, ours.to_record(event))
        except (TypeError, ValueError, OverflowError, AttributeError) as error:  # UnicodeError is a ValueError
            raise UnwritableEvent(
                f"{event.SCHEMA} has a value that its schema cannot carry: {error}; compare it with the schema"
            ) from error
        return out.getvalue()

    def decode(self, data: bytes | None, expect: type[E]) -> E:
        """The event of the expected type in the value of a record.

        Raises `MalformedRecord` where the bytes are none, and `RegistryUnavailable` where that cannot be known now.
        """
        if not data:
            raise MalformedRecord(f"an empty record where {expect.SCHEMA} in Confluent's wire format is expected")
        written = self._written_with(data, expect.SCHEMA)
        source = io.BytesIO(data)
        source.seek(PREFIX.size)
        try:
            record = fastavro.schemaless_reader(source, written.schema, written.reader)
            event: E = self._ours[expect.SCHEMA].from_record(record)
        except Exception as error:  # garbage raises whatever the byte it stumbles over leads to
            raise MalformedRecord(
                f"no {expect.SCHEMA} in {len(data)} bytes: {type(error).__name__}: {error}"
            ) from error
        if rest := len(data) - source.tell():
            raise MalformedRecord(f"{rest} bytes follow the {expect.SCHEMA} in {len(data)} bytes")
        return event

    def _prefix(self, event: type[Event]) -> bytes:
        prefix = self._prefixes.get(event.SCHEMA)
        if prefix is None:
            schema_id = self._registry.id_of(self._topics.topic_of(event))
            prefix = self._prefixes[event.SCHEMA] = PREFIX.pack(MAGIC, schema_id)
            # The schema that it was asked about: what this version wrote is read without asking again.
            self._written.setdefault(schema_id, _Written(event.SCHEMA, self._ours[event.SCHEMA].schema, None))
        return prefix

    def _written_with(self, data: bytes, expect: str) -> _Written:
        if len(data) < PREFIX.size or data[0] != MAGIC:
            raise MalformedRecord(
                f"{len(data)} bytes that begin with 0x{data[:4].hex()} are not in Confluent's wire format "
                "(00, schema id); produce with a registry-aware Avro serializer"
            )
        _, schema_id = PREFIX.unpack_from(data)
        if schema_id > MAX_SCHEMA_ID:
            raise MalformedRecord(f"no registry gives a schema the id {schema_id}, which the record begins with")
        written = self._written.get(schema_id) or self._ask_once(schema_id)
        if written.event != expect:
            raise MalformedRecord(f"schema id {schema_id} is of {written.event}, {expect} is expected here")
        return written

    def _ask_once(self, schema_id: int) -> _Written:
        found = self._unreadable.get(schema_id)
        if found is not None and self._clock() < found[0]:
            _, kind, why = found
            raise kind(why)
        try:
            return self._ask(schema_id)
        except (MalformedRecord, RegistryUnavailable) as error:
            if len(self._unreadable) >= UNREADABLE_REMEMBERED:
                self._unreadable.clear()
            again_s = ASK_AGAIN_S if isinstance(error, MalformedRecord) else ASK_AWAY_AGAIN_S
            self._unreadable[schema_id] = self._clock() + again_s, type(error), str(error)
            raise

    def _ask(self, schema_id: int) -> _Written:
        schema = self._registry.schema_of(schema_id)
        if schema is None:
            raise MalformedRecord(
                f"the registry knows no schema id {schema_id}, or it is none of Avro; "
                "was the record meant for another registry or topic?"
            )
        event = str(schema.get("name")) if isinstance(schema, dict) else str(schema)
        ours = self._ours.get(event)
        same = ours is not None and schema == json.loads(schema_source(EVENTS[event]))
        try:
            parsed = _parsed(schema) if ours else None
        except Exception as error:  # whatever the part of it that is no Avro leads to
            raise MalformedRecord(f"schema id {schema_id} cannot be read: {type(error).__name__}: {error}") from error
        written = _Written(event, parsed, None if same or not ours else ours.schema)
        self._written[schema_id] = written
        return written


def _parsed(schema: Any) -> Any:
    """For fastavro; each with its own names, since the events share some."""
    return fastavro.parse_schema(schema, named_schemas={})
