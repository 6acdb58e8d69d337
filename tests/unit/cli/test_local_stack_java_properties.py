from pathlib import Path

import pytest

from services.cli.local_stack.java_properties import escaped, write_properties


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("/tmp/plain, with=signs: and #", "/tmp/plain, with=signs: and #"),
        ("/tmp/prüfstand", r"/tmp/pr\u00fcfstand"),
        ("/tmp/検査", r"/tmp/\u691c\u67fb"),
        ("/tmp/🔬", r"/tmp/\ud83d\udd2c"),
        (r"C:\new", r"C:\\new"),
        ("  two blanks", r"\  two blanks"),
        ("a\nline", r"a\nline"),
    ],
)
def test_java_reads_a_value_as_it_was(value: str, written: str) -> None:
    assert escaped(value) == written


def test_a_file_has_a_line_for_each_setting(tmp_path: Path) -> None:
    write_properties(tmp_path / "kafka" / "server.properties", {"node.id": "1", "log.dirs": "/tmp/é"})
    assert (tmp_path / "kafka" / "server.properties").read_bytes() == b"node.id=1\nlog.dirs=/tmp/\\u00e9\n"
