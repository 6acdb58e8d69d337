"""Reads the rules file."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from services.router.errors import InvalidRules
from services.router.rules import Rules

DEFAULT_RULES = Path(__file__).with_name("rules.yaml")


def load_rules(path: Path = DEFAULT_RULES) -> Rules:
    """The rules of a YAML file.

    Raises:
        InvalidRules: the file cannot be read, is no YAML, or has unknown keys or impossible values, all named.
    """
    try:
        plain = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRules(f"rules file {path} cannot be read ({error}): correct CHIPSIEVE_ROUTER__RULES") from error
    except yaml.YAMLError as error:
        raise InvalidRules(f"rules file {path} is not YAML: {error}") from error
    try:
        return Rules.model_validate(plain if plain is not None else {})
    except ValidationError as error:
        faults = "; ".join(
            _fault(fault["loc"], fault["type"], fault["msg"], fault["input"]) for fault in error.errors()
        )
        raise InvalidRules(f"rules file {path}: {faults}. {DEFAULT_RULES} shows every key") from error


def _fault(keys: Iterable[int | str], kind: str, message: str, value: Any) -> str:
    path = ".".join(str(key) for key in keys if key != "[key]") or "the document"
    if kind == "extra_forbidden":
        return f"{path} is no key that is known here: correct or remove it"
    if kind == "missing":
        return f"{path} is missing: add it"
    return f"{path} is {value!r}: {message[:1].lower()}{message[1:]}"
