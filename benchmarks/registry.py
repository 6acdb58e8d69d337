"""A schema registry in memory, for benchmarks that need no broker."""

import json
from typing import Any

from shared.topics import EVENTS, Topic
from shared.wire.registry import schema_source


class MemoryRegistry:
    """Numbers our own schemas. As `shared.wire.codec.SchemaIds`."""

    def id_of(self, topic: Topic) -> int:
        """Id of this version of the topic's schema."""
        return list(EVENTS).index(topic.event.SCHEMA)

    def schema_of(self, schema_id: int) -> dict[str, Any]:
        """The schema with an id."""
        schema: dict[str, Any] = json.loads(schema_source(list(EVENTS.values())[schema_id]))
        return schema
