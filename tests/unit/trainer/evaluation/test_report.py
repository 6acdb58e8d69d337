from dataclasses import replace
from html.parser import HTMLParser
from importlib.metadata import version
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from typing_extensions import override

from services.trainer.errors import TrainingError
from services.trainer.evaluation.evaluate import evaluate
from services.trainer.evaluation.report import FIGURES, Evaluated, write_report
from services.trainer.train import train
from tests.unit.trainer.conftest import RECIPE, colour_engine, draw, draw_mask

__all__ = ["colour_engine"]
DEFECTS = [(10, 20), (60, 90), (40, 50), (20, 60)]
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """What a browser would see: text, addresses, and whether every element is closed."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.feed(source)
        self.close()

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [
            value or "" for name, value in attrs if name in {"src", "href", "data", "srcset", "xlink:href"}
        ]
        if tag not in VOID:
            self.open.append(tag)

    @override
    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    @override
    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture
def material(tmp_path: Path) -> dict[str, Any]:
    for seed in range(30):
        draw(tmp_path / "train" / f"{seed:02}.png", seed)
    for seed in range(8):
        draw(tmp_path / "normal" / f"{seed}.png", 1000 + seed)
    draw(tmp_path / "normal" / "a<b>&c.png", 3000, defect=(30, 30))  # a false reject with an awkward name
    for index, defect in enumerate(DEFECTS):
        draw(tmp_path / "abnormal" / "blot" / f"{index}.png", 2000 + index, defect=defect)
        draw_mask(tmp_path / "masks" / "blot" / f"{index}.png", defect)
    draw(tmp_path / "abnormal" / "smear" / "missed.png", 4000)  # a defect that cannot be seen
    train(product="plate <1>", normal=tmp_path / "train", out=tmp_path / "bundle", recipe=RECIPE)
    return {name: tmp_path / name for name in ("bundle", "normal", "abnormal", "masks")}


def test_the_page_holds_the_figures_and_loads_nothing(material: dict[str, Any], tmp_path: Path) -> None:
    figures = evaluate(**material, report=tmp_path / "report")
    source = (tmp_path / "report" / "index.html").read_text()
    page = Page(source)
    text = " ".join(page.text)
    assert page.open == []
    for name in ("image_auroc", "pixel_auroc", "au_pro", "accuracy", "precision", "recall", "f1", "false_reject_rate"):
        assert f"{figures[name]:.4f}" in text, name
        assert "{:.4f} to {:.4f}".format(*figures["ci95"][name]) in text, name
    for place in material.values():
        assert str(place) in text
    assert page.addresses
    assert all(address.startswith("data:image/jpeg;base64,") for address in page.addresses)
    assert not {"script", "link", "iframe", "object", "embed"} & set(page.tags)
    assert "url(" not in source
    assert "@import" not in source
    assert "http" not in source


def test_the_page_says_which_promise_was_not_kept(material: dict[str, Any], tmp_path: Path) -> None:
    evaluate(bundle=material["bundle"], normal=material["abnormal"] / "blot", report=tmp_path / "report")
    text = " ".join(Page((tmp_path / "report" / "index.html").read_text()).text)
    assert "Not kept here: 100.000% of the good pictures are rejected" in text


def test_the_page_shows_charts_promise_kinds_and_the_worst_of_both(material: dict[str, Any], tmp_path: Path) -> None:
    evaluate(**material, report=tmp_path / "report")
    source = (tmp_path / "report" / "index.html").read_text()
    page = Page(source)
    text = " ".join(page.text)
    assert page.tags.count("svg") == 3
    for chart in source.split("<svg")[1:]:
        ElementTree.fromstring("<svg" + chart.split("</svg>")[0] + "</svg>")
    assert "plate <1>" in text
    assert "No groups were given" in text
    assert "too few to promise a false-reject rate" in text
    assert "a<b>&c.png" in text
    assert "smear/missed.png" in text
    assert page.tags.count("img") >= 4  # picture and overlay of one miss at least, and of one false reject
    assert "ms a picture" in text
    assert "30 good and 0 defective pictures, held out in 10 folds" in text
    assert f"Chipsieve {version('chipsieve')}" in text


def test_without_defects_there_are_no_curves(material: dict[str, Any], tmp_path: Path) -> None:
    evaluate(bundle=material["bundle"], normal=material["normal"], report=tmp_path / "report")
    page = Page((tmp_path / "report" / "index.html").read_text())
    assert page.tags.count("svg") == 1
    assert "No defective pictures were judged." in " ".join(page.text)


def test_groups_are_named_and_draw_the_intervals(material: dict[str, Any], tmp_path: Path) -> None:
    table = tmp_path / "groups.csv"
    names = [path.name for path in sorted(material["normal"].iterdir())]
    table.write_text("file,group\n" + "".join(f"{name},{index % 3}\n" for index, name in enumerate(names)))
    figures = evaluate(**material, groups=table, report=tmp_path / "report")
    assert figures["groups"] == 3
    assert "group (3 groups of good ones)" in " ".join(Page((tmp_path / "report" / "index.html").read_text()).text)


def test_a_file_is_not_taken_for_the_reports_folder(material: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "report").write_text("mine")
    with pytest.raises(TrainingError, match="which is a file"):
        evaluate(**material, report=tmp_path / "report")
    assert (tmp_path / "report").read_text() == "mine"


def test_every_figure_that_is_shown_is_explained(material: dict[str, Any], tmp_path: Path) -> None:
    evaluate(**material, report=tmp_path / "report")
    text = " ".join(Page((tmp_path / "report" / "index.html").read_text()).text)
    for label, meaning in FIGURES.values():
        assert f"{label}: {meaning}" in text
    assert "dashed: guessing" in text
    assert "each as shares of their own number" in text


def test_why_a_file_was_not_inspected_is_text_and_no_number(material: dict[str, Any], tmp_path: Path) -> None:
    (material["normal"] / "no.png").write_text("no picture")
    evaluate(**material, report=tmp_path / "report")
    source = (tmp_path / "report" / "index.html").read_text()
    assert "<td>no.png</td><td>no picture in 10 bytes" in source


def test_verdicts_in_the_table_are_those_that_were_counted(material: dict[str, Any], tmp_path: Path) -> None:
    """A score just above a threshold is no 32-bit number above it."""
    evaluated: list[Evaluated] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("services.trainer.evaluation.evaluate.write_report", lambda _, each: evaluated.append(each))
        evaluate(**material, report=tmp_path / "report")
    (judged,) = evaluated
    lowest = min(each.score for each in judged.normals.inspections)
    manifest = judged.manifest.model_copy(update={"threshold": float(np.nextafter(lowest, -np.inf))})
    rejected = tuple(replace(each, rejected=each.score > manifest.threshold) for each in judged.normals.inspections)
    normals = replace(judged.normals, inspections=rejected)
    write_report(tmp_path / "page", replace(judged, manifest=manifest, normals=normals))
    source = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    count = len(rejected)
    assert f"<td>good</td><td class=number>0</td><td class=number>{count}</td>" in source
