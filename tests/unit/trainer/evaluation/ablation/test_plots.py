import math
import re
from xml.etree import ElementTree

import pytest

from services.trainer.evaluation.ablation.plots import measure_plot, time_plot
from services.trainer.evaluation.ablation.results import Line
from tests.unit.trainer.evaluation.ablation.made_up import line

NAN = math.nan
SVG = "{http://www.w3.org/2000/svg}"


def dots(svg: str) -> list[tuple[str, float, float]]:
    """What each dot says, and where it is; everything drawn must be a number and inside the picture."""
    root = ElementTree.fromstring(svg)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for element in root.iter():
        for name in ("x", "cx", "x1", "x2"):
            assert 0 <= float(element.attrib.get(name, 0)) <= width
        for name in ("y", "cy", "y1", "y2"):
            assert 0 <= float(element.attrib.get(name, 0)) <= height
    return [
        (title.text or "", float(circle.attrib["cx"]), float(circle.attrib["cy"]))
        for circle in root.iter(f"{SVG}circle")
        for title in circle.iter(f"{SVG}title")
    ]


ALL_RIGHT = {"auroc": 1.0, "f1": 1.0}


@pytest.mark.parametrize(
    "lines",
    [
        [line(ALL_RIGHT, ALL_RIGHT), line(ALL_RIGHT, ALL_RIGHT, row=1)],
        [line(ALL_RIGHT)],
        [line({"auroc": 0.0, "f1": 0.0, "ms_per_image": 0.0}, {"auroc": 0.0, "f1": 0.0, "ms_per_image": 0.0})],
        [line({"auroc": 0.5, "f1": 0.0}, {"auroc": 1.0, "f1": 1.0})],
        [line({}, {}), line({}, {}, kind="grouped")],
    ],
    ids=["all right", "all right on one split", "all wrong at once", "far apart", "all equal"],
)
def test_every_row_has_its_dot_in_each_plot(lines: list[Line]) -> None:
    for measure in ("auroc", "f1"):
        assert len(dots(measure_plot(lines, measure, "Title"))) == len(lines)
    assert len(dots(time_plot(lines, "random"))) == sum(each.kind == "random" for each in lines)


def test_what_is_always_right_is_drawn_at_the_end_of_the_axis() -> None:
    right, wrong = line(ALL_RIGHT), line({"auroc": 0.95}, row=1)
    across = {told: x for told, x, _ in dots(measure_plot([right, wrong], "auroc", "AUROC"))}
    up = {told: y for told, _, y in dots(time_plot([right, wrong], "random"))}
    assert across["Logistic regression, random: 1.000"] > across["SVM, linear, random: 0.950"]
    assert up["Logistic regression: 1.000"] < up["SVM, linear: 0.950"]
    alone = dots(time_plot([right], "random"))
    assert alone[0][2] == up["Logistic regression: 1.000"]


def test_a_figure_that_is_not_defined_is_said_so_and_keeps_no_other_from_being_drawn() -> None:
    lines = [line({"auroc": NAN}, {"auroc": 0.5}), line({}, row=1), line({"ms_per_image": NAN}, row=2)]
    plot = measure_plot(lines, "auroc", "AUROC")
    assert [told for told, _, _ in dots(plot)] == ["SVM, linear, random: 0.900", "SVM, RBF, random: 0.900"]
    assert "not defined" in plot
    timed = time_plot(lines, "random")
    assert [told for told, _, _ in dots(timed)] == ["SVM, linear: 0.900"]
    assert "not defined: Logistic regression, SVM, RBF" in timed


def test_plots_of_nothing_that_is_defined_can_be_drawn() -> None:
    nothing = [line({"auroc": NAN, "ms_per_image": NAN})]
    assert dots(measure_plot(nothing, "auroc", "AUROC")) == []
    assert dots(time_plot(nothing, "random")) == []


def test_labels_of_dots_in_one_place_are_below_each_other() -> None:
    plot = time_plot([line(ALL_RIGHT, row=row) for row in range(8)], "random")
    places = re.findall(r'y="([\d.]+)" text-anchor="start" font-size="11"', plot)
    assert len(set(places)) == 8


def test_both_kinds_of_plot_call_a_row_what_the_table_calls_it_and_say_what_they_are() -> None:
    ours = line({}, {}, row=8)
    for svg in (measure_plot([ours], "auroc", "AUROC"), time_plot([ours], "random")):
        root = ElementTree.fromstring(svg)
        assert ours.row.title in [text.text for text in root.iter(f"{SVG}text")]
        assert root.attrib["aria-label"].startswith("AUROC")
