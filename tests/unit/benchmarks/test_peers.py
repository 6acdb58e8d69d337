import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from benchmarks.peers import __main__ as command
from benchmarks.peers import environment, ours
from benchmarks.peers.comparison import OURS, accuracy, best, largest_difference, rows
from benchmarks.peers.environment import PeerFailed, Peers
from services.trainer.evaluation.metrics import auroc

PEER = "anomalib PatchCore, OpenVINOInferencer"


def draw(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels)


@pytest.fixture
def tested(tmp_path: Path) -> Path:
    """Two good pictures and two with a defect in the upper left quarter, of which only one has a mask."""
    grey, mask = np.full((40, 60), 90, np.uint8), np.zeros((40, 60), np.uint8)
    mask[:20, :30] = 255
    for name in ("normal/a.png", "normal/b.png", "abnormal/crack/c.png", "abnormal/crack/d.png"):
        draw(tmp_path / name, grey)
    draw(tmp_path / "masks/crack/c.png", mask)
    return tmp_path


def maps(*peaks: float) -> list[np.ndarray]:
    """Maps of 4 x 4, as high as this in the upper left quarter."""
    found = [np.zeros((4, 4), np.float32) for _ in peaks]
    for each, peak in zip(found, peaks, strict=True):
        each[:2, :2] = peak
    return found


def test_accuracy_is_perfect_where_maps_lie_on_the_masks_and_scores_separate(tested: Path) -> None:
    found = accuracy(tested, np.array([0.1, 0.2, 0.8, 0.9], np.float32), maps(0, 0, 1, 1))
    assert found["image_auroc"] == 1
    assert found["au_pro"] == pytest.approx(1, abs=0.1)  # the map's rim is blurred by stretching it


def test_accuracy_falls_where_maps_are_high_on_good_pictures_and_scores_overlap(tested: Path) -> None:
    scores = np.array([0.1, 0.85, 0.8, 0.9], np.float32)
    found = accuracy(tested, scores, maps(2, 2, 1, 1))
    assert found["image_auroc"] == auroc(scores, np.array([False, False, True, True])) == 0.75
    assert found["au_pro"] is not None
    assert found["au_pro"] < 0.75


def test_a_defect_without_a_mask_counts_in_no_pixel_figure(tested: Path) -> None:
    scores = np.array([0.1, 0.2, 0.8, 0.9], np.float32)
    assert accuracy(tested, scores, maps(0, 0, 1, 1)) == accuracy(tested, scores, maps(0, 0, 1, 0))


def test_features_are_compared_tap_by_tap_whatever_their_layout() -> None:
    features = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    theirs = {"b1": features.transpose(0, 3, 1, 2), "b2": 10 * features.transpose(0, 3, 1, 2)}
    assert largest_difference({"b1": features, "b2": 10 * features}, theirs) == 0
    theirs["b2"] = theirs["b2"] + np.float32(np.abs(features).max())
    assert largest_difference({"b1": features, "b2": 10 * features}, theirs) == pytest.approx(0.1)


def test_the_best_round_of_each_figure_counts() -> None:
    rounds = [{"images_per_second": 50, "cpu_ms": 30}, {"images_per_second": 40, "cpu_ms": 20}]
    assert best(rounds) == {"images_per_second": 50, "cpu_ms": 20}


def test_ratios_say_how_many_times_as_much_we_do() -> None:
    speed = {OURS: {"images_per_second": 90.0, "cpu_ms": 20.0}, PEER: {"images_per_second": 30.0, "cpu_ms": 50.0}}
    accurate = {
        "Chipsieve": {"image_auroc": 0.9, "au_pro": 0.7},
        "anomalib PatchCore": {"image_auroc": 0.8, "au_pro": None},
    }
    first, second = rows(speed, accurate)
    assert (first["ours, times as fast"], first["of ours"]) == (1, 1)
    assert (second["ours, times as fast"], second["of ours"]) == (3, 2.5)
    assert (second["image AUROC"], second["AU-PRO"]) == (0.8, None)


def test_the_line_looks_through_the_taps_that_the_peers_have() -> None:
    assert [layer.name for layer in ours.recipe_of(["b10", "b12"], 256).layers] == ["b10@256/3", "b12@256/3"]


def test_the_peers_compute_in_our_precision_and_beside_int8_in_float() -> None:
    assert [command.their_precision(precision) for precision in ("f32", "bf16")] == ["f32", "bf16"]
    assert command.their_precision("int8") in {"f32", "bf16"}


def test_what_was_measured_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "fitted.json"
    assert command.kept(file, lambda: {"seconds": 1}) == {"seconds": 1}
    assert command.kept(file, lambda: {"seconds": 2}) == {"seconds": 1}


def test_a_folder_of_other_settings_is_refused(tmp_path: Path) -> None:
    command.keep_settings(tmp_path, {"taps": "b10", "seed": 0})
    command.keep_settings(tmp_path, {"taps": "b10", "seed": 0})
    with pytest.raises(typer.BadParameter, match="another taps: name another folder"):
        command.keep_settings(tmp_path, {"taps": "b12", "seed": 0})


def peers_that_run(program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Peers:
    """Peers whose program is a few lines of Python."""
    file = tmp_path / "program.py"
    file.write_text(program)
    monkeypatch.setattr(environment, "PROGRAM", file)
    return Peers(Path(sys.executable))


def test_a_peer_gets_pictures_and_options_and_its_last_line_is_what_it_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = (
        "import json, sys; from pathlib import Path\n"
        "print('a warning')\n"
        "pictures = Path(sys.argv[3]).read_text().split()\n"
        "print(json.dumps({'job': sys.argv[1], 'pictures': pictures, 'rest': sys.argv[4:]}))"
    )
    peers = peers_that_run(program, tmp_path, monkeypatch)
    found = peers.run("judge", [tmp_path / "a.png", tmp_path / "b.png"], size=256)
    assert found == {
        "job": "judge",
        "pictures": [str(tmp_path / "a.png"), str(tmp_path / "b.png")],
        "rest": ["--size", "256"],
    }


def test_a_peer_that_fails_is_told_by_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    peers = peers_that_run("raise SystemExit('no such tap: b99')", tmp_path, monkeypatch)
    with pytest.raises(PeerFailed, match="no such tap: b99"):
        peers.run("fit", [])


def test_a_peer_that_says_nothing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    peers = peers_that_run("", tmp_path, monkeypatch)
    with pytest.raises(PeerFailed, match="fit reported nothing"):
        peers.run("fit", [])


def test_an_environment_is_made_once_for_each_lock_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def run(words: list[str]) -> str:
        commands.append(words)
        (tmp_path / "peers").mkdir(exist_ok=True)
        Path(words[-1]).mkdir(exist_ok=True) if words[1] == "venv" else None
        return ""

    monkeypatch.setattr(environment, "_run", run)
    lock = tmp_path / "peers.lock"
    lock.write_text("anomalib==2.7.0\n")
    first = Peers.make(tmp_path, lock)
    assert [words[1] for words in commands] == ["venv", "pip"]
    assert "--require-hashes" in commands[1]
    assert Peers.make(tmp_path, lock) == first
    assert len(commands) == 2
    lock.write_text("anomalib==2.8.0\n")
    assert Peers.make(tmp_path, lock) != first
    assert len(commands) == 4


def test_the_help_tells_what_is_compared() -> None:
    done = CliRunner().invoke(command.app, ["--help"])
    assert done.exit_code == 0
    assert "--tiles" in done.stdout


def test_what_is_reported_is_json(tested: Path) -> None:
    found = accuracy(tested, np.array([0.1, 0.2, 0.8, 0.9], np.float32), maps(0, 0, 1, 1))
    assert json.loads(json.dumps(found)) == found


def test_help_breaks_its_lines_where_the_terminal_ends() -> None:
    shown = CliRunner().invoke(command.app, ["--help"], env={"COLUMNS": "80"}).stdout
    paragraph = shown[shown.index("Each peer decodes") : shown.index("The first run")].splitlines()
    assert min(map(len, map(str.strip, paragraph[:3]))) > 60
