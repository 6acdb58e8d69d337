from pathlib import Path

from services.trainer.material.numbered import Numbered
from services.trainer.material.pictures import PictureFile


def files(*names: str) -> list[PictureFile]:
    return [PictureFile(Path(name), name) for name in names]


GOOD = files("a_001.png", "a_002.png", "b_003.png", "b_010.png", "b_011.png", "c_012.png")
GROUPS = ["tray 1", "tray 1", "tray 1", "tray 2", "tray 2", "tray 2"]


def test_a_picture_is_of_the_group_of_the_number_next_to_its_own() -> None:
    numbered = Numbered(GOOD, GROUPS)
    bad = files("scratch_000.png", "scratch_006.png", "scratch_7.png", "dent/099.png")
    assert [numbered.group_of(file) for file in bad] == ["tray 1", "tray 1", "tray 2", "tray 2"]


def test_the_last_digits_of_a_name_are_its_number() -> None:
    assert Numbered(GOOD, GROUPS).group_of(files("line9_exposure3_011_top.png")[0]) == "tray 2"


def test_where_a_name_has_no_number_no_group_is_told() -> None:
    assert Numbered(GOOD, GROUPS).group_of(files("scratch.png")[0]) is None
    assert Numbered(files("x.png", "y.png"), ["1", "2"]).group_of(files("scratch_1.png")[0]) is None


def test_numbers_tell_where_neighbours_are_of_one_group() -> None:
    assert Numbered(GOOD, GROUPS).tell()
    assert not Numbered(GOOD, ["1", "2", "1", "2", "1", "2"]).tell()
    assert not Numbered(files("x.png", "y.png"), ["1", "1"]).tell()
    assert not Numbered(files("x_1.png"), ["1"]).tell()


def test_folders_that_are_numbered_one_by_one_tell_nothing_of_each_other() -> None:
    numbered = Numbered(GOOD, GROUPS)
    assert numbered.also_number(files("crack/a_004.png", "crack/b_004.png", "dent/005.png", "dent/x.png"))
    assert not numbered.also_number(files("crack/001.png", "crack/002.png"))  # as good ones
    row = [f"crack/{number}.png" for number in range(100, 119)]
    assert numbered.also_number(files(*row, "crack/001.png"))  # one of twenty, perhaps by mistake
    assert not numbered.also_number(files(*row[:8], "crack/001.png"))
    assert not numbered.also_number(files("crack/100.png", "crack/101.png", "dent/100.png", "dent/101.png"))
