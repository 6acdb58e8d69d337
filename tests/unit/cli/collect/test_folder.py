import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from services.cli.collect.folder import Collection, file_name
from shared.errors import ConfigurationError
from shared.events import Verdict
from shared.vision.mask import encode
from tests.bad_pictures import encoded, noise
from tests.contract.examples import EXAMPLES

MASK = np.zeros((64, 64), np.uint8)
MASK[10:30, 20:50] = 1
REJECT = replace(EXAMPLES["ChipInspected"], verdict=Verdict.REJECT, uninspected=None, mask=encode(MASK), regions=())
PICTURE = encoded(noise(), "PNG")


def rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((folder / "verdicts.csv").read_text(encoding="utf-8"))))


def test_a_picture_is_kept_as_it_came_by_product_and_verdict_and_the_table_tells_of_it(tmp_path: Path) -> None:
    kept = Collection(tmp_path / "new" / "folder").add(REJECT, PICTURE, overlay=False)

    assert kept.read_bytes() == PICTURE
    place = kept.relative_to(tmp_path / "new" / "folder")
    assert place.parts[:2] == ("soic8", "reject")
    assert place.name.startswith("20261124T161500_line-1_tray_7_chip_3_")
    assert place.suffix == ".png"
    (row,) = rows(tmp_path / "new" / "folder")
    assert row["file"] == place.as_posix()
    assert (row["verdict"], row["chip_id"], row["reason"]) == ("REJECT", "tray 7/chip 3", "")
    assert (float(row["score"]), float(row["threshold"])) == (4.5, 2.25)
    assert row["captured_at"] == "2026-11-24T16:15:00.123+00:00"


@pytest.mark.parametrize(
    ("data", "suffix"),
    [(encoded(noise(), "JPEG"), ".jpg"), (encoded(noise(), "TIFF"), ".tif"), (b"no picture", ".bin")],
)
def test_its_suffix_is_that_of_what_it_holds(tmp_path: Path, data: bytes, suffix: str) -> None:
    assert Collection(tmp_path).add(REJECT, data, overlay=True).suffix == suffix


def test_what_was_collected_is_known_also_where_its_file_was_moved(tmp_path: Path) -> None:
    kept = Collection(tmp_path).add(REJECT, PICTURE, overlay=False)
    kept.rename(tmp_path / "good.png")

    again = Collection(tmp_path)

    assert again.has(REJECT)
    assert not again.has(replace(REJECT, verdict=Verdict.PASS))
    for other in ("event_id", "chip_id", "line_id"):
        assert not again.has(replace(REJECT, **{other: "another"}))


def test_an_overlay_lies_apart_and_shows_what_was_found(tmp_path: Path) -> None:
    kept = Collection(tmp_path).add(REJECT, PICTURE, overlay=True)

    (drawn,) = (tmp_path / "overlays").rglob("*.png")

    assert drawn.relative_to(tmp_path / "overlays") == kept.relative_to(tmp_path)
    changed = (np.asarray(Image.open(drawn)) != np.asarray(Image.open(kept))).any(axis=2)
    assert changed[12:28, 22:48].all()
    assert not changed[:5].any()


def test_the_folder_of_another_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "verdicts.csv").write_text("chip,verdict\n1,PASS\n", encoding="utf-8")

    with pytest.raises(ConfigurationError, match=r"verdicts\.csv has other columns"):
        Collection(tmp_path)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigurationError, match="file cannot be written: File exists"):
        Collection(tmp_path / "file")


@given(st.text(), st.text(max_size=500), st.text(max_size=500))
def test_any_id_makes_a_name_that_file_systems_take(product: str, line: str, chip: str) -> None:
    for text in (product, line, chip):
        name = file_name(text)
        assert "/" not in name
        assert "\0" not in name
        assert len(name.encode()) <= 60
        assert not name.startswith(".")
