"""Between event classes and the plain records Avro writes.

The conversions are made once a class from its annotations, so that one costs a few microseconds and copies no payload.
"""

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from enum import StrEnum
from operator import attrgetter
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

Convert = Callable[[Any], Any]


def to_record(cls: type[Any]) -> Convert:
    """A function from an instance of `cls`, an event's dataclass of two fields or more, to its record."""
    names = tuple(field.name for field in fields(cls))
    values_of = attrgetter(*names)
    nested = [(name, convert) for name, hint in _hints(cls, names) if (convert := _plain(hint))]

    def convert_instance(instance: Any) -> dict[str, Any]:
        record = dict(zip(names, values_of(instance), strict=True))
        for name, convert in nested:
            if record[name] is not None:
                record[name] = convert(record[name])
        return record

    return convert_instance


def from_record(cls: type[Any]) -> Convert:
    """A function from a record to an instance of `cls`; it takes the record over."""
    names = tuple(field.name for field in fields(cls))
    nested = [(name, convert) for name, hint in _hints(cls, names) if (convert := _typed(hint))]

    def convert_record(record: dict[str, Any]) -> Any:
        for name, convert in nested:
            if record[name] is not None:
                record[name] = convert(record[name])
        return cls(**record)

    return convert_record


def _hints(cls: type[Any], names: tuple[str, ...]) -> list[tuple[str, Any]]:
    hints = get_type_hints(cls)
    return [(name, hints[name]) for name in names]


def _plain(hint: Any) -> Convert | None:
    """How a value of this type becomes Avro's; None where it is already."""
    hint = _without_none(hint)
    if get_origin(hint) is tuple:
        item = _plain(get_args(hint)[0])
        return (lambda values: [item(value) for value in values]) if item else list
    return to_record(hint) if isinstance(hint, type) and is_dataclass(hint) else None  # an enum of strings is a string


def _typed(hint: Any) -> Convert | None:
    """How Avro's value becomes one of this type; None where it is already."""
    hint = _without_none(hint)
    if get_origin(hint) is tuple:
        item = _typed(get_args(hint)[0])
        return (lambda values: tuple([item(value) for value in values])) if item else tuple
    if isinstance(hint, type) and is_dataclass(hint):
        return from_record(hint)
    return hint if issubclass(hint, StrEnum) else None


def _without_none(hint: Any) -> Any:
    if isinstance(hint, UnionType):
        (hint,) = (branch for branch in get_args(hint) if branch is not NoneType)
    return hint
