"""No change of a schema locks out a consumer of another version."""

import copy
import json
from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest

from shared.topics import EVENTS
from shared.wire.registry import schema_source
from tests.contract.compatibility import why_not_readable
from tests.contract.frozen import released

Schema = dict[str, Any]


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_the_newest_released_schema_is_the_current_one(name: str):
    current = json.loads(schema_source(EVENTS[name]))

    assert current == released(name)[-1].schema, "a meant change is released by `python -m tests.contract.freeze`"


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_every_version_reads_every_other(name: str):
    versions = [version.schema for version in released(name)] + [json.loads(schema_source(EVENTS[name]))]

    for reader, writer in permutations(versions, 2):
        assert why_not_readable(reader=reader, writer=writer) is None


def add_optional_field(schema: Schema) -> None:
    schema["fields"].append({"name": "station", "type": ["null", "string"], "default": None, "doc": "Where."})


def add_required_field(schema: Schema) -> None:
    schema["fields"].append({"name": "station", "type": "string", "doc": "Where."})


def remove_required_field(schema: Schema) -> None:
    schema["fields"] = [field for field in schema["fields"] if field["name"] != "line_id"]


def remove_optional_field(schema: Schema) -> None:
    schema["fields"] = [field for field in schema["fields"] if field["name"] != "bank_version"]


def change_a_type(schema: Schema) -> None:
    for field in schema["fields"]:
        if field["name"] == "chip_id":
            field["type"] = "long"


def add_a_verdict(schema: Schema) -> None:
    for field in schema["fields"]:
        if field["name"] == "verdict":
            field["type"]["symbols"].append("MAYBE")


def add_a_reason(schema: Schema) -> None:
    for field in schema["fields"]:
        if field["name"] == "uninspected":
            field["type"][1]["fields"][0]["type"]["symbols"].append("TOO_DARK")


@pytest.mark.parametrize(
    ("change", "new_reads_old", "old_reads_new"),
    [
        (add_optional_field, True, True),
        (remove_optional_field, True, True),
        (add_a_reason, True, True),
        (add_required_field, False, True),
        (remove_required_field, True, False),
        (add_a_verdict, True, False),
        (change_a_type, False, False),
    ],
)
def test_the_check_knows_which_changes_lock_a_reader_out(
    change: Callable[[Schema], None], new_reads_old: bool, old_reads_new: bool
):
    old = json.loads(schema_source(EVENTS["ChipInspected"]))
    new = copy.deepcopy(old)
    change(new)

    assert (why_not_readable(reader=new, writer=old) is None) == new_reads_old
    assert (why_not_readable(reader=old, writer=new) is None) == old_reads_new
