"""A schema registry in memory, for tests of what is above it."""

import json
from typing import Any

from shared.topics import EVENTS, Topic
from shared.wire.errors import RegistryUnavailable
from shared.wire.registry import schema_source


class RegistryInMemory:
    """Knows this version's schemas as 1, 2, … in the order of their names, and others that it is given."""

    def __init__(self) -> None:
        self.by_id = {number: json.loads(schema_source(EVENTS[name])) for number, name in enumerate(sorted(EVENTS), 1)}
        self.questions = 0
        self.answers = True

    def add(self, schema: dict[str, Any]) -> int:
        """Keep a schema; its id."""
        number = len(self.by_id) + 1
        self.by_id[number] = schema
        return number

    def id_of(self, topic: Topic) -> int:
        self._ask()
        return sorted(EVENTS).index(topic.event.SCHEMA) + 1

    def schema_of(self, schema_id: int) -> dict[str, Any] | None:
        self._ask()
        return self.by_id.get(schema_id)

    def _ask(self) -> None:
        self.questions += 1
        if not self.answers:
            raise RegistryUnavailable("down")
