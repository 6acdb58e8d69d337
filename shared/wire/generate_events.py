"""Make `shared/events.py` from the Avro schemas: ``python -m shared.wire.generate_events``.

The schemas are the source of truth; the module is committed so that editors and type checkers see the events, and a
contract test fails when the two drift apart.
"""

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

SCHEMAS = Path(__file__).parents[2] / "schemas"
EVENTS = Path(__file__).parents[1] / "events.py"
PYTHON_TYPES = {
    "string": "str",
    "bytes": "bytes",
    "int": "int",
    "long": "int",
    "float": "float",
    "double": "float",
    "boolean": "bool",
}
HEADER = '''\
"""The events that flow through Chipsieve, made from `schemas/*.avsc`: edit those, then run `make events`."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import ClassVar

'''


def python_type(avro: Any) -> str:
    """Python annotation of an Avro type."""
    if isinstance(avro, list):
        inner = " | ".join(python_type(branch) for branch in avro if branch != "null")
        return f"{inner} | None" if "null" in avro else inner
    if isinstance(avro, str):
        return PYTHON_TYPES.get(avro, avro)
    if avro.get("logicalType") == "timestamp-millis":
        return "datetime"
    if avro["type"] == "array":
        return f"tuple[{python_type(avro['items'])}, ...]"
    return str(avro["name"]) if avro["type"] in ("record", "enum") else PYTHON_TYPES[avro["type"]]


def default(field: dict[str, Any]) -> str:
    """Source of a field's default, with its leading equals sign, or nothing."""
    if "default" not in field:
        return ""
    return " = ()" if field["default"] == [] else f" = {field['default']!r}"


def named_types(avro: Any) -> list[dict[str, Any]]:
    """Records and enums defined inside a type, innermost first."""
    if isinstance(avro, list):
        return [found for branch in avro for found in named_types(branch)]
    if not isinstance(avro, dict):
        return []
    if avro["type"] == "array":
        return named_types(avro["items"])
    if avro["type"] == "enum":
        return [avro]
    if avro["type"] == "record":
        return [found for field in avro["fields"] for found in named_types(field["type"])] + [avro]
    return []


def source_of(named: dict[str, Any], *, is_event: bool) -> str:
    """Source of one class."""
    doc = textwrap.fill(f'"""{named["doc"]}"""', 116, initial_indent="    ", subsequent_indent="    ")
    if named["type"] == "enum":
        symbols = "".join(f'    {symbol} = "{symbol}"\n' for symbol in named["symbols"])
        return f"class {named['name']}(StrEnum):\n{doc}\n\n{symbols}"
    schema = f'    SCHEMA: ClassVar[str] = "{named["name"]}"\n' if is_event else ""
    fields = "".join(
        f"    {field['name']}: {python_type(field['type'])}{default(field)}\n"
        + textwrap.fill(f'"""{field["doc"]}"""', 116, initial_indent="    ", subsequent_indent="    ")
        + "\n"
        for field in named["fields"]
    )
    return f"@dataclass(frozen=True, slots=True, kw_only=True)\nclass {named['name']}:\n{doc}\n\n{schema}\n{fields}"


def events_module(schemas: Path = SCHEMAS) -> str:
    """Source of the events module, formatted."""
    classes: dict[str, str] = {}
    events: list[str] = []
    for path in sorted(schemas.glob("*.avsc")):
        event = json.loads(path.read_text())
        events.append(event["name"])
        for named in named_types(event):
            source = source_of(named, is_event=named is event)
            if classes.setdefault(named["name"], source) != source:
                raise SystemExit(f"{path.name}: {named['name']} differs from its definition in another schema")
    union = "Event = " + " | ".join(events) + "\n"
    module = HEADER + "\n\n".join(classes.values()) + "\n\n" + union
    formatter = [sys.executable, "-m", "ruff", "format", "--stdin-filename", "events.py", "-"]
    return subprocess.run(formatter, input=module, text=True, capture_output=True, check=True).stdout


if __name__ == "__main__":
    EVENTS.write_text(events_module())
