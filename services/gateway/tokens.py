"""The file of tokens: who may send pictures of which line.

It has one line each: the SHA-256 of the token in hex, then the lines that it is good for, or an asterisk for all of
them. Whoever reads the file cannot send with it. A name that a blank or `#` would cut in two stands in double quotes,
as JSON writes a string.

    # camera of line 1
    3f0c…9a line-1
    77b2…e4 line-2 "press 3"
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from services.gateway.capture import check_id
from shared.errors import ConfigurationError

ALL = "*"

Tokens = Mapping[str, frozenset[str]]
"""Lines that a token is good for, by the token's SHA-256 in hex."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_WORD = re.compile(
    r"""\s* (?: (?P<quoted>"(?:[^"\\]|\\.)*") (?=[\s\#]|$) | (?P<plain>[^\s"\#][^\s\#]*) )""", re.VERBOSE
)


def token_record(token: str, lines: Sequence[str]) -> str:
    """What the file says of a token that is good for `lines`. Raises `InvalidIdentity` for a name no line can have."""
    for line in lines:
        check_id("line", line)
    return " ".join([hashlib.sha256(token.encode()).hexdigest(), *(_written(line) for line in lines)])


def read_tokens(file: Path) -> Tokens:
    """The tokens in a file. Raises `ConfigurationError` that names the line where one cannot be."""
    try:
        text = file.read_text(encoding="utf-8-sig")  # some editors of Windows leave a mark before the first character
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"CHIPSIEVE_GATEWAY__TOKENS_FILE is {file}, which cannot be read: {error}") from error
    tokens: dict[str, frozenset[str]] = {}
    for number, record in enumerate(text.splitlines(), start=1):
        try:
            digest, *lines = list(_words(record)) or [""]
        except ValueError as error:
            raise ConfigurationError(f"{file}:{number} is no token: {error}") from error
        if not digest:
            continue
        if not _DIGEST.fullmatch(digest) or not lines:
            raise ConfigurationError(
                f"{file}:{number} is no token: write the token's SHA-256 in hex and the lines it is good for "
                "(`chipsieve token LINE` makes one)"
            )
        tokens[digest] = tokens.get(digest, frozenset()) | frozenset(lines)
    return tokens


def _written(line: str) -> str:
    """A line's name as the file has it: as it is, or quoted where it would be read as something else."""
    plain = _WORD.fullmatch(line)
    return line if plain and plain["plain"] == line else json.dumps(line, ensure_ascii=False)


def _words(record: str) -> Iterator[str]:
    """The words of one line of the file, up to its comment. Raises `ValueError` for a quoted name that is none."""
    place = 0
    while (rest := record[place:].lstrip()) and not rest.startswith("#"):
        word = _WORD.match(record, place)
        if word is None:
            raise ValueError(f'{rest} does not end with its quote: write the name as JSON does, like "press 3"')
        place = word.end()
        yield word["plain"] or _unquoted(word["quoted"])


def _unquoted(quoted: str) -> str:
    name: str = json.loads(quoted)
    # Else a slip of the pen would open every line: what stands for all of them stands alone.
    if name in {"", ALL}:
        raise ValueError(f"{quoted} names no line: an asterisk for all lines is written without quotes")
    return name
