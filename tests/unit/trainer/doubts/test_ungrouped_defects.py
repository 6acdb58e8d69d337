from pathlib import Path

from services.trainer.doubts.ungrouped_defects import ungrouped_defects
from services.trainer.evaluation.evaluate import evaluate
from services.trainer.material.pictures import PictureFile
from services.trainer.promise.thresholds import Asked
from services.trainer.train import train
from tests.unit.trainer.conftest import RECIPE, draw

FILES = tuple(PictureFile(Path(f"{number}.png"), f"{number}.png") for number in range(3))
TABLE = Path("groups.csv")


def test_defects_that_the_table_leaves_out_are_counted_and_one_is_named() -> None:
    (none_named,) = ungrouped_defects(TABLE, FILES, None, what="intervals count")
    assert none_named.startswith(
        "groups.csv names no group of 3 of 3 defective pictures, for instance 0.png: intervals count each for itself"
    )
    (some,) = ungrouped_defects(TABLE, FILES, ("part", "file 1.png", "part"), what="")
    assert "1 of 3 defective pictures, for instance 1.png" in some


def test_where_all_are_named_or_there_is_no_table_nothing_is_said() -> None:
    assert ungrouped_defects(TABLE, FILES, ("a", "a", "b"), what="") == []
    assert ungrouped_defects(None, FILES, None, what="") == []
    assert ungrouped_defects(TABLE, (), None, what="") == []


def test_a_promise_of_escapes_and_intervals_say_so(tmp_path: Path) -> None:
    table = tmp_path / "groups.csv"
    table.write_text("file,group\n" + "".join(f"{seed}.png,tray{seed // 3}\n" for seed in range(30)))
    for seed in range(30):
        draw(tmp_path / "normal" / f"{seed}.png", seed)
    for seed in range(5):
        draw(tmp_path / "abnormal" / f"bad{seed}.png", 100 + seed, defect=(10, 20))
    places = {name: tmp_path / name for name in ("normal", "abnormal")} | {"groups": table}

    def warnings(asked: Asked) -> str:
        return str(train(product="plate", out=tmp_path / "bundle", recipe=RECIPE, asked=asked, **places).training)

    told = "names no group of 5 of 5 defective pictures"
    assert told in warnings(Asked(max_escape_rate=0.5, best_effort=True))
    assert told not in warnings(Asked())  # promises nothing of escapes
    assert told in str(evaluate(bundle=tmp_path / "bundle", **places)["warnings"])
