"""Any program of ours as the next version would be: every event has one more field, and is registered so.

python -m tests.next_version MODULE ARGUMENTS…
"""

import json
import runpy
import shutil
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[1]


def with_a_station(schema: dict[str, Any]) -> dict[str, Any]:
    """An event's schema as the next version has it."""
    station = {"name": "station", "type": ["null", "string"], "default": None, "doc": "Where the chip was."}
    return {**schema, "fields": [*schema["fields"], station]}


def _become(schemas: Path) -> None:
    """Have this process know the events of these schemas; nothing that knows any may be imported yet."""
    from shared.wire.generate_events import events_module

    events = ModuleType("shared.events")
    sys.modules["shared.events"] = events
    exec(events_module(schemas), vars(events))
    from shared import topics

    topics.SCHEMAS = schemas


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        schemas = Path(folder)
        for path in (ROOT / "schemas").iterdir():
            shutil.copy(path, schemas)
        for path in schemas.glob("*.avsc"):
            path.write_text(json.dumps(with_a_station(json.loads(path.read_text()))))
        _become(schemas)
        sys.argv = sys.argv[1:]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
