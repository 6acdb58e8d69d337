"""Files of settings as Java reads them: Latin-1, with everything else, and what has a meaning, escaped."""

from collections.abc import Mapping
from pathlib import Path

SPECIAL = {"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r", "\f": r"\f"}


def write_properties(path: Path, settings: Mapping[str, str]) -> None:
    """Write `settings`, whose names are plain ASCII, so that Java reads the same values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}={escaped(value)}\n" for name, value in settings.items()), encoding="ascii")


def escaped(value: str) -> str:
    """A value as it stands in the file. Java leaves out blanks before it, but not those within."""
    kept = "".join(SPECIAL.get(character) or _ascii(character) for character in value)
    return f"\\{kept}" if kept.startswith(" ") else kept


def _ascii(character: str) -> str:
    if " " <= character <= "~":
        return character
    units = character.encode("utf-16-be", "surrogatepass")  # two for what lies beyond 65535, as Java has it
    return "".join(f"\\u{units[place]:02x}{units[place + 1]:02x}" for place in range(0, len(units), 2))
