"""`shared/events.py` is what the schemas say."""

import copy
import json
from pathlib import Path

import pytest

from shared.topics import SCHEMAS
from shared.wire import generate_events


def test_the_events_module_is_what_the_generator_makes_of_the_schemas():
    assert generate_events.EVENTS.read_text() == generate_events.events_module(), "run `make events`"


def test_a_changed_schema_changes_the_events_module(tmp_path: Path):
    for path in SCHEMAS.glob("*.avsc"):
        (tmp_path / path.name).write_text(path.read_text())
    changed = tmp_path / "AlertRaised.avsc"
    schema = json.loads(changed.read_text())
    schema["fields"].append({"name": "severity", "type": ["null", "string"], "default": None, "doc": "How bad."})
    changed.write_text(json.dumps(schema))

    assert generate_events.events_module(tmp_path) != generate_events.EVENTS.read_text()


def test_a_type_that_two_schemas_define_differently_is_refused(tmp_path: Path):
    for name in ("ChipInspected", "ChipRejected"):
        schema = json.loads((SCHEMAS / f"{name}.avsc").read_text())
        if name == "ChipRejected":
            schema = copy.deepcopy(schema)
            (verdict,) = (field["type"] for field in schema["fields"] if field["name"] == "verdict")
            verdict["symbols"].append("MAYBE")
        (tmp_path / f"{name}.avsc").write_text(json.dumps(schema))

    with pytest.raises(SystemExit, match="Verdict differs"):
        generate_events.events_module(tmp_path)


def test_every_field_of_every_schema_is_explained():
    def unexplained(avro: object, at: str) -> list[str]:
        if isinstance(avro, list):
            return [found for branch in avro for found in unexplained(branch, at)]
        if not isinstance(avro, dict):
            return []
        if avro["type"] == "array":
            return unexplained(avro["items"], at)
        missing = [at] if avro["type"] in ("record", "enum") and not avro.get("doc") else []
        for field in avro.get("fields", []):
            missing += [] if field.get("doc") else [f"{at}.{field['name']}"]
            missing += unexplained(field["type"], f"{at}.{field['name']}")
        return missing

    assert [
        found for path in SCHEMAS.glob("*.avsc") for found in unexplained(json.loads(path.read_text()), path.stem)
    ] == []
