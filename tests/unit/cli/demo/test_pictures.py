import itertools
from pathlib import Path

import cv2

from services.cli.demo.pictures import belt, write_normals, write_test_set
from services.cli.demo.render import Defect
from shared.vision.picture import decode


def test_the_belt_brings_the_same_chips_for_the_same_seed() -> None:
    first, again = (list(itertools.islice(belt("soic-8", 5), 12)) for _ in range(2))
    assert first == again
    assert [chip.chip_id for chip in first[:2]] == ["soic-8-00000", "soic-8-00001"]
    assert decode(first[0].data).shape == (320, 320, 3)


def test_the_belt_brings_good_chips_and_now_and_then_a_bad_one() -> None:
    defects = [chip.defect for chip in itertools.islice(belt("soic-8", 5), 60)]
    assert 0 < sum(defect is not None for defect in defects) < 20


def test_a_folder_of_normals_has_as_many_pictures_as_asked_for(tmp_path: Path) -> None:
    write_normals(tmp_path / "normal", "qfp-32", 3, seed=1)
    assert len({path.read_bytes() for path in (tmp_path / "normal").iterdir()}) == 3


def test_a_test_set_has_every_kind_of_defect_with_a_mask_of_the_same_name(tmp_path: Path) -> None:
    write_test_set(tmp_path, "soic-8", normals=2, of_each_kind=2, seed=1)
    assert len(list((tmp_path / "normal").iterdir())) == 2
    pictures = {path.relative_to(tmp_path / "abnormal").with_suffix("") for path in tmp_path.glob("abnormal/*/*.jpg")}
    masks = {path.relative_to(tmp_path / "masks").with_suffix(""): path for path in tmp_path.glob("masks/*/*.png")}
    assert pictures == set(masks)
    assert {picture.parent.name for picture in pictures} == set(Defect)
    assert len(pictures) == 2 * len(Defect)
    for path in masks.values():
        mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert mask.shape == (320, 320)
        assert set(mask.flat) == {0, 255}
