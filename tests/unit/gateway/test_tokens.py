import hashlib
from pathlib import Path

import pytest

from services.gateway.errors import InvalidIdentity
from services.gateway.tokens import read_tokens, token_record
from shared.errors import ConfigurationError

DIGEST = hashlib.sha256(b"one").hexdigest()


def read(tmp_path: Path, text: str) -> set[str]:
    (tmp_path / "tokens").write_text(text)
    return set(read_tokens(tmp_path / "tokens").get(DIGEST, ()))


@pytest.mark.parametrize(
    "line", ["line-1", "press 1", "press *", "#1", "line#1", '"', 'a"b', "back\\slash", 'press "B\\', "linéa 1", "100%"]
)
def test_a_record_says_what_it_was_written_for_and_nothing_else(tmp_path: Path, line: str) -> None:
    record = token_record("one", [line, "line-2"])
    assert read(tmp_path, f"# cameras\n{record}  # of press 9\n") == {line, "line-2"}


def test_a_file_may_begin_with_the_mark_that_some_editors_leave(tmp_path: Path) -> None:
    assert read(tmp_path, f"\ufeff{token_record('one', ['line-1'])}\n") == {"line-1"}


def test_an_asterisk_alone_is_good_for_every_line(tmp_path: Path) -> None:
    assert token_record("one", ["*"]) == f"{DIGEST} *"
    assert read(tmp_path, token_record("one", ["*"])) == {"*"}


@pytest.mark.parametrize("line", ["", " ", " line-1", "line-1 ", "line\n1", "line\t1", "x" * 501])
def test_a_name_that_no_line_can_have_gets_no_record(line: str) -> None:
    with pytest.raises(InvalidIdentity, match="line"):
        token_record("one", [line])


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        ("line-1 line-2", {"line-1", "line-2"}),
        ("  line-1\tline-2 ", {"line-1", "line-2"}),
        ("line-1#of the camera", {"line-1"}),
        ("line%201 %2A", {"line%201", "%2A"}),
        ('a"b c"', {'a"b', 'c"'}),
    ],
)
def test_names_without_quotes_end_at_a_blank_or_comment(tmp_path: Path, words: str, lines: set[str]) -> None:
    assert read(tmp_path, f"{DIGEST} {words}\n") == lines


@pytest.mark.parametrize(
    "text",
    [
        "one line-1",
        "g" * 64 + " line-1",
        "0" * 64,
        f'{DIGEST} "press *',
        f'{DIGEST} "press"*',
        f'{DIGEST} "press \\x"',
        f'{DIGEST} "*"',
        f'{DIGEST} ""',
    ],
)
def test_a_line_that_is_no_token_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match="tokens:2 is no token"):
        read(tmp_path, f"# cameras\n{text}\n")
