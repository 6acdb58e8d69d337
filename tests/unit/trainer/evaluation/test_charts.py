import re

import numpy as np
import pytest

from services.trainer.evaluation.charts import DEFECTIVE, WIDTH, curve, histogram, precision_recall, roc

LETTER = 6.5  # pixels a letter of the charts' text takes at most


def path_of(chart: str) -> list[tuple[float, float]]:
    """The curve's corners, in pixels."""
    found = re.search(r'<polyline points="([^"]+)"', chart)
    assert found
    return [(float(x), float(y)) for x, y in (point.split(",") for point in found[1].split())]


def test_a_curve_of_many_pictures_goes_through_the_few_defective_ones() -> None:
    scores = np.concatenate([np.linspace(0, 1, 5000), np.linspace(2, 3, 10)]).astype(np.float32)
    points = precision_recall(scores, scores > 1.5)
    whole = path_of(curve(points[:10], across="recall", up="precision", here=None))
    thinned = path_of(curve(points, across="recall", up="precision", here=None))
    assert thinned[:10] == whole  # precision is 1 up to the last of them
    assert len(thinned) < 1000


def test_a_thinned_curve_ends_where_it_ends() -> None:
    scores = np.linspace(0, 1, 3000, dtype=np.float32)
    path = path_of(curve(roc(scores, np.arange(3000) % 2 == 0), across="false rejects", up="recall", here=None))
    assert path[0][0] < path[-1][0]
    assert path[-1] == path_of(curve([(0, 0), (1, 1)], across="false rejects", up="recall", here=None))[-1]


def bars_of(chart: str, colour: str) -> list[tuple[float, float]]:
    """Left edge and height of each of a class's bars, in pixels."""
    found = re.findall(rf'<rect x="([^"]+)" y="[^"]+" width="[^"]+" height="([^"]+)" fill="{colour}"', chart)
    return [(float(x), float(height)) for x, height in found]


def labels_of(chart: str) -> list[str]:
    """What stands at the axes' ticks."""
    return re.findall(r'<text x="[^"]+" y="[^"]+" text-anchor="(?:middle|end)">([^<]+)</text>', chart)


@pytest.mark.parametrize("threshold", [-5.0, 0.0, 19.63, 1234.5])
def test_the_thresholds_label_lies_within_the_chart(threshold: float) -> None:
    chart = histogram(np.linspace(0, 10, 50, dtype=np.float32), np.zeros(0, np.float32), threshold)
    found = re.search(r'<text x="([^"]+)" y="[^"]+" text-anchor="(start|end)"[^>]*>(threshold [^<]+)</text>', chart)
    assert found
    x, wide = float(found[1]), LETTER * len(found[3])
    assert x - wide > 0 if found[2] == "end" else x + wide < WIDTH


def test_few_defective_pictures_among_many_good_ones_keep_their_places() -> None:
    defective = np.linspace(20, 200, 10, dtype=np.float32)
    bars = bars_of(histogram(np.linspace(-10, 10, 500, dtype=np.float32), defective, 19.0), DEFECTIVE)
    assert len(bars) == len(defective)


def test_ticks_are_round_and_say_what_they_mark() -> None:
    normal = np.array([0.0] * 35 + [7.3] * 5, np.float32)  # the taller bar is .875
    labels = labels_of(histogram(normal, np.zeros(0, np.float32), 19.63))
    assert labels == ["0", "5", "10", "15", "20", "0", "0.2", "0.4", "0.6", "0.8", "score"]
