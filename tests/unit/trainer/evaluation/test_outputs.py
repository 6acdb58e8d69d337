from pathlib import Path

import pytest

from services.trainer.errors import UnwritableOutput
from services.trainer.evaluation.outputs import refuse_file, refuse_folder, told, write_whole


def test_a_folder_that_is_not_there_yet_will_do_and_is_not_made(tmp_path: Path) -> None:
    refuse_folder("report", tmp_path / "new" / "report")
    assert list(tmp_path.iterdir()) == []


def test_what_the_system_refuses_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "x", Path("/proc/foo")):
        with pytest.raises(UnwritableOutput, match=r"the report cannot be written to .*: "):
            refuse_folder("report", folder)
    for file in (tmp_path / "none" / "s.csv", tmp_path / "file" / "s.csv", tmp_path, Path("/proc/s.csv")):
        with pytest.raises(UnwritableOutput, match=r"the scores cannot be written to .*: "):
            refuse_file("scores", file)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_file_that_is_there_keeps_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("old")
    refuse_file("scores", tmp_path / "s.csv")
    assert (tmp_path / "s.csv").read_text() == "old"


def test_a_file_is_written_whole_through_links_or_keeps_what_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link.csv").symlink_to(tmp_path / "s.csv")
    write_whole(tmp_path / "link.csv", "Größe")
    assert (tmp_path / "s.csv").read_bytes() == "Größe".encode()
    assert (tmp_path / "link.csv").is_symlink()

    def full(path: Path, data: bytes) -> int:
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(tmp_path / "s.csv", "more")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.csv", "s.csv"]
    assert (tmp_path / "s.csv").read_text(encoding="utf-8") == "Größe"


def test_a_full_disk_is_told_too(tmp_path: Path) -> None:
    with pytest.raises(UnwritableOutput, match="No space left on device; name another place"), told("scores", tmp_path):
        raise OSError(28, "No space left on device")
