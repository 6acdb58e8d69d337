import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.cli.commands import app, main
from services.cli.train import _from_defects, _print_search
from services.trainer.evaluation.report import FIGURES
from services.trainer.train import train
from tests.unit.trainer.conftest import RECIPE, colour_engine, draw, draw_mask

__all__ = ["colour_engine"]  # the fixture that stands in for the backbone


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("services.trainer.train.train", lambda **options: train(**options | {"recipe": RECIPE}))
    for seed in range(6):
        draw(tmp_path / "normal" / f"{seed}.png", seed)
    draw(tmp_path / "abnormal" / "blot" / "x.png", 100, defect=(30, 40))
    draw_mask(tmp_path / "masks" / "blot" / "x.png", (30, 40))
    return tmp_path


def chipsieve(*arguments: object) -> tuple[str, str]:
    """Standard output and standard error of a command that succeeds."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return result.stdout, result.stderr


def test_json_is_one_document_on_standard_output_and_all_else_on_standard_error(folder: Path) -> None:
    out, err = chipsieve(
        "train", "--product", "plate", "--normal", folder / "normal", "--out", folder / "bundle", "--json"
    )
    manifest = json.loads(out)
    assert manifest["product"] == "plate"
    assert "too few to promise" in err.replace("\n", " ")
    assert "calibrating" in err

    out, _ = chipsieve(
        *("evaluate", "--bundle", folder / "bundle", "--normal", folder / "normal", "--abnormal", folder / "abnormal"),
        *("--masks", folder / "masks", "--json"),
    )
    figures = json.loads(out)
    assert {
        *("image_auroc", "pixel_auroc", "au_pro", "accuracy", "precision", "recall", "f1", "false_reject_rate"),
        *("escape_rate", "threshold", "images", "images_per_second"),
    } <= set(figures)
    assert figures["threshold"] == manifest["threshold"]
    assert figures["images"] == 7


def test_without_json_people_read_a_table(folder: Path) -> None:
    out, _ = chipsieve("train", "--product", "plate", "--normal", folder / "normal", "--out", folder / "bundle")
    assert "threshold" in out
    assert "6 good pictures are too few" in " ".join(out.replace("│", "").split())
    assert "normal" not in out
    out, _ = chipsieve(
        *("evaluate", "--bundle", folder / "bundle", "--normal", folder / "normal", "--abnormal", folder / "abnormal"),
    )
    rows = {cells[1].strip(): cells[2].strip() for line in out.splitlines() if len(cells := line.split("│")) == 4}
    assert {name: rows[name] for name in ("pictures", "good pictures", "defective pictures", "confidence")} == {
        "pictures": "7",
        "good pictures": "6",
        "defective pictures": "1",
        "confidence": "0.95",
    }
    assert re.fullmatch(r"\d+\.\d", rows["pictures a second"])
    assert "promised false-reject rate" in rows
    assert "normal" not in out


def test_a_promise_that_cannot_be_kept_ends_with_a_sentence_and_a_status(folder: Path, tmp_path: Path) -> None:
    asked = ("--false-reject-rate", "0.05", "--confidence", "0.9")
    paths = ("train", "--product", "plate", "--normal", str(folder / "normal"), "--out", str(tmp_path / "bundle"))
    result = CliRunner().invoke(app, [*paths, *asked])
    assert result.exit_code != 0
    assert "6 good pictures are too few to promise a false-reject rate of 5.000%" in str(result.exception)
    assert not (tmp_path / "bundle").exists()
    _, err = chipsieve(*paths, *asked, "--best-effort")
    assert "too few to promise" in err.replace("\n", " ")


def test_names_are_shown_as_they_are_and_are_no_markup(folder: Path) -> None:
    draw(folder / "abnormal" / "[bold]x" / "y.png", 101, defect=(50, 60))
    out, _ = chipsieve(
        *("train", "--product", "a[/b]", "--normal", folder / "normal", "--out", folder / "[red]"),
        *("--abnormal", folder / "abnormal"),
    )
    assert "a[/b]" in out
    assert "[red]" in "".join(out.replace("│", "").split())
    options = ("--normal", folder / "normal", "--abnormal", folder / "abnormal")
    out, _ = chipsieve("evaluate", "--bundle", folder / "[red]", *options)
    assert "[bold]x" in out


def test_in_a_file_a_warning_is_one_line(folder: Path) -> None:
    _, err = chipsieve("train", "--product", "plate", "--normal", folder / "normal", "--out", folder / "bundle")
    (warning,) = (line for line in err.splitlines() if "too few to promise" in line)
    assert warning.startswith("warning: 6 good pictures")
    assert "at most" in warning


def test_a_figure_without_an_interval_says_why(folder: Path) -> None:
    chipsieve("train", "--product", "plate", "--normal", folder / "normal", "--out", folder / "bundle")
    single = folder / "single"
    draw(single / "0.png", 700)
    options = ("--abnormal", folder / "abnormal", "--masks", folder / "masks")
    out, _ = chipsieve("evaluate", "--bundle", folder / "bundle", "--normal", single, *options)
    assert "no interval: too few pictures" in " ".join(out.split())


def test_ctrl_c_ends_with_a_word(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("services.trainer.evaluation.evaluate.evaluate", interrupt)
    monkeypatch.setattr("sys.argv", ["chipsieve", "evaluate", "--bundle", "b", "--normal", "n"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    assert capsys.readouterr().err.splitlines()[-1] == "chipsieve: stopped"


def test_an_update_adds_good_pictures_to_a_bundle(folder: Path, tmp_path: Path) -> None:
    chipsieve("train", "--product", "plate", "--normal", folder / "normal", "--out", folder / "bundle")
    for seed in range(4):
        draw(folder / "more" / f"{seed}.png", 500 + seed)
    update = ("train", "--update", folder / "bundle", "--normal", folder / "more", "--out", folder / "updated")
    out, err = chipsieve(*update, "--json")
    manifest = json.loads(out)
    assert (manifest["product"], manifest["training"]["normals"]) == ("plate", 10)
    assert "normals" not in err
    result = CliRunner().invoke(app, [str(argument) for argument in (*update, "--product", "other")])
    assert result.exit_code == 2
    result = CliRunner().invoke(app, ["train", "--normal", str(folder / "more"), "--out", str(folder / "updated")])
    assert result.exit_code == 2


def test_a_bound_on_the_cost_of_a_recipe_that_is_given_is_not_passed_over(folder: Path) -> None:
    (folder / "recipe.json").write_text('{"layers": [{"tap": "b12"}]}')
    options = ("--normal", folder / "normal", "--out", folder / "bundle", "--recipe", folder / "recipe.json")
    result = CliRunner().invoke(app, ["train", "--product", "plate", *map(str, options), "--max-ms", "1"])
    assert result.exit_code == 2
    assert "--max-ms bounds the search" in result.stderr


def test_a_report_is_written_where_asked(folder: Path) -> None:
    chipsieve("train", "--product", "plate", "--normal", folder / "normal", "--out", folder / "bundle")
    options = ("--bundle", folder / "bundle", "--normal", folder / "normal", "--report", folder / "report")
    _, err = chipsieve("evaluate", *options)
    assert f"report: {folder / 'report' / 'index.html'}" in err
    assert (folder / "report" / "index.html").is_file()


def test_what_was_not_inspected_is_in_the_table_and_named(folder: Path) -> None:
    chipsieve("train", "--product", "plate", "--normal", folder / "normal", "--out", folder / "bundle")
    (folder / "normal" / "broken.png").write_bytes(b"no picture")
    out, err = chipsieve("evaluate", "--bundle", folder / "bundle", "--normal", folder / "normal")
    assert "1: in no figure, the line would reject them" in out
    assert "broken.png: " in " ".join(err.split())


def test_swapped_folders_are_warned_of(folder: Path) -> None:
    chipsieve("train", "--product", "plate", "--normal", folder / "normal", "--out", folder / "bundle")
    options = ("--bundle", folder / "bundle", "--normal", folder / "abnormal", "--abnormal", folder / "normal")
    _, err = chipsieve("evaluate", *options)
    assert "are the folders swapped" in " ".join(err.split())


def test_the_table_of_what_was_tried_says_on_which_defects(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"candidate": "b12@256", "auroc": 0.9, "auroc_on_real": None, "given_up": False, "weight": 0.5}
    _print_search({"abnormals": 0, "tried": [row]})
    assert "on defects drawn into the good pictures" in " ".join(capsys.readouterr().err.split())


def test_the_table_calls_figures_what_the_report_calls_them(folder: Path) -> None:
    chipsieve("train", "--product", "plate", "--normal", folder / "normal", "--out", folder / "bundle")
    judged = ("evaluate", "--bundle", folder / "bundle", "--normal", folder / "normal")
    out, _ = chipsieve(*judged, "--abnormal", folder / "abnormal", "--masks", folder / "masks")
    for label, _ in FIGURES.values():
        assert f"│ {label} " in out


def test_what_defects_have_taught_is_told_in_words() -> None:
    report = {
        "joined": True,
        "auroc_normals_only": 0.9481,
        "auroc_joined": 0.9592,
        "by_patches": {"joined": True, "gain": 0.0111},
        "by_whole_pictures": {"joined": False, "gain": 0.0, "kinds": ["crack", "stain"], "kinds_right": 0.7619},
    }
    told = "joined the score: AUROC 0.9592 instead of 0.9481; held out, 76% are called by the right one of 2 kinds"
    assert _from_defects(report) == told
    report |= {"joined": False, "by_whole_pictures": {"joined": False}}
    assert _from_defects(report) == "adds nothing to the score"
    assert _from_defects({"joined": False, "why": "defects of fewer than 6 parts"}) == "defects of fewer than 6 parts"
    assert _from_defects(None) is None


def test_names_of_files_do_nothing_to_the_terminal(folder: Path) -> None:
    (folder / "normal" / "\x1b[31mbad\n.png").write_text("no picture")
    draw(folder / "abnormal" / "\x1b[2J" / "y.png", 101, defect=(50, 60))
    _, err = chipsieve("train", "--product", "plate", "--normal", folder / "normal", "--out", folder / "bundle")
    assert r"1 files were left out, for instance \x1b[31mbad\n.png: " in err
    assert "\x1b" not in err
    options = ("--normal", folder / "normal", "--abnormal", folder / "abnormal")
    out, _ = chipsieve("evaluate", "--bundle", folder / "bundle", *options)
    assert r"\x1b[2J 1.0000" in out
    assert "\x1b" not in out
