import re

import numpy as np

from services.trainer.evaluation.charts import curve, precision_recall, roc

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
