import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import ndtr
from scipy.stats import binom

from services.trainer.evaluation.bootstrap import RESAMPLES, PixelSample, picture_intervals, resample
from services.trainer.evaluation.metrics import PixelFigures


def test_pictures_of_a_group_are_drawn_together_and_each_class_keeps_its_number() -> None:
    draws = resample(6, 4, list("aabbcc"), None)
    assert draws.shape == (RESAMPLES, 10)
    assert (draws[:, :6:2] == draws[:, 1:6:2]).all()
    assert (draws[:, :6].sum(axis=1) == 6).all()
    assert (draws[:, 6:].sum(axis=1) == 4).all()
    assert np.array_equal(draws, resample(6, 4, list("aabbcc"), None))


def test_an_interval_over_groups_of_alike_pictures_is_wider() -> None:
    random = np.random.default_rng(0)
    rejected = np.repeat(random.random(20) < 0.3, 10)
    scores, defective = rejected.astype(np.float32), np.zeros(200, np.bool_)
    groups = [str(picture // 10) for picture in range(200)]
    lengths = []
    for of_pictures in (None, groups):
        draws = resample(200, 0, of_pictures, None)
        ends = picture_intervals(scores, rejected, defective, draws, groups=of_pictures)["false_reject_rate"]
        assert ends is not None
        assert ends[0] <= rejected.mean() <= ends[1]
        lengths.append(ends[1] - ends[0])
    assert lengths[1] > 2 * lengths[0]


def test_nineteen_intervals_in_twenty_hold_the_true_rate() -> None:
    held = 0
    for seed in range(60):
        rejected = np.random.default_rng(seed).random(200) < 0.2
        draws = resample(200, 0, None, None, seed=seed)
        ends = picture_intervals(rejected.astype(np.float32), rejected, np.zeros(200, np.bool_), draws)
        low, high = ends["false_reject_rate"] or (1, 0)
        held += low <= 0.2 <= high
    assert held >= 52


def test_a_few_wrong_pictures_promise_no_less_than_none() -> None:
    ends = {}
    for wrong in range(4):
        rejected = np.arange(200) < wrong
        draws = resample(200, 0, None, None)
        of_rates = picture_intervals(rejected.astype(np.float32), rejected, np.zeros(200, np.bool_), draws)
        ends[wrong] = of_rates["false_reject_rate"] or (1, 0)
    assert [ends[wrong][1] for wrong in range(4)] == sorted(ends[wrong][1] for wrong in range(4))
    assert ends[1] == pytest.approx((binom_end(1, 200, above=True), binom_end(1, 200, above=False)), abs=1e-9)


def binom_end(wrong: int, pictures: int, *, above: bool) -> float:
    """The rate at which so many wrong ones, or more of them (`above`), or fewer, come once in forty times."""
    return float(brentq(lambda rate: tail_of(wrong, pictures, rate, above=above) - 0.025, 1e-9, 1 - 1e-9, xtol=1e-12))


def tail_of(wrong: int, pictures: int, rate: float, *, above: bool) -> float:
    return float(binom.sf(wrong - 1, pictures, rate) if above else binom.cdf(wrong, pictures, rate))


def test_intervals_over_groups_hold_a_low_rate_as_often_as_they_say() -> None:
    random, below = np.random.default_rng(0), 0
    groups = [str(picture // 20) for picture in range(200)]
    for _ in range(100):
        rates = random.beta(0.02 * 9, 0.98 * 9, 10)  # of ten parts: 2 % in the mean, with a correlation of 0.1
        rejected = random.random(200) < np.repeat(rates, 20)
        draws, good = resample(200, 0, groups, None), np.zeros(200, np.bool_)
        ends = picture_intervals(rejected.astype(np.float32), rejected, good, draws, groups=groups)
        low, high = ends["false_reject_rate"] or (1, 0)
        assert low <= rejected.mean() <= high
        below += high < 0.02
    assert below <= 5  # 15 where the ends are taken from what is drawn again


@pytest.mark.parametrize(("normals", "abnormals", "apart"), [(300, 100, 4.0), (20, 8, 1.0)])
def test_intervals_of_the_auroc_lie_above_it_as_rarely_as_they_say(
    normals: int, abnormals: int, apart: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.trainer.evaluation.bootstrap.RESAMPLES", 200)
    random, above = np.random.default_rng(0), 0
    defective = np.arange(normals + abnormals) >= normals
    for _ in range(100):
        scores = random.standard_normal(len(defective)) + apart * defective
        draws = resample(normals, abnormals, None, None)
        ends = picture_intervals(scores.astype(np.float32), scores > 2, defective, draws)["image_auroc"]
        above += (ends or (1, 1))[0] > ndtr(apart / np.sqrt(2))
    assert above <= 5  # 20 and 11 where the ends are taken from what is drawn again


@pytest.mark.parametrize("size", [1, 10])
def test_intervals_of_f1_hold_it_as_often_as_they_say(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By groups of one and of ten pictures that are alike."""
    monkeypatch.setattr("services.trainer.evaluation.bootstrap.RESAMPLES", 200)
    random, outside = np.random.default_rng(0), 0
    defective = np.arange(260) >= 200
    groups = [f"{picture // size}" for picture in range(260)]
    caught, wrong = 60 * ndtr(0.4), 200 * ndtr(-1.6)
    for _ in range(100):
        alike = np.repeat(random.standard_normal(260 // size), size)
        scores = np.sqrt(0.3) * alike + np.sqrt(0.7) * random.standard_normal(260) + 2 * defective
        draws = resample(200, 60, groups[:200], groups[200:])
        ends = picture_intervals(scores.astype(np.float32), scores > 1.6, defective, draws, groups=groups)["f1"]
        low, high = ends or (1, 0)
        outside += not low <= 2 * caught / (60 + caught + wrong) <= high
    assert outside <= 8


def test_three_groups_tell_little() -> None:
    rejected = np.concatenate([np.arange(20) < wrong for wrong in (8, 4, 6)])
    groups = [str(picture // 20) for picture in range(60)]
    ends = picture_intervals(
        rejected.astype(np.float32), rejected, np.zeros(60, np.bool_), resample(60, 0, groups, None), groups=groups
    )
    low, high = ends["false_reject_rate"] or (1, 0)
    assert low < 0.15  # all of three are above their mean by chance once in eight times
    assert high > 0.5


@pytest.mark.parametrize("size", range(3, 14))
def test_groups_of_one_rate_tell_as_little_whatever_it_is(size: int) -> None:
    rejected, groups = np.tile(np.arange(size) < 2, 10), [str(picture // size) for picture in range(10 * size)]
    good, draws = np.zeros(10 * size, np.bool_), resample(10 * size, 0, groups, None)
    ends = picture_intervals(rejected.astype(np.float32), rejected, good, draws, groups=groups)["false_reject_rate"]
    different = 1 - 0.025 ** (1 / 10)
    assert ends == pytest.approx((max(0, 2 / size - different), min(1, 2 / size + different)))


def test_a_rate_at_an_end_has_an_interval_of_some_width_and_a_wider_one_over_groups() -> None:
    defective = np.arange(40) >= 30
    scores, draws = defective.astype(np.float32), resample(30, 10, None, None)
    alone = picture_intervals(scores, defective, defective, draws)
    assert alone["false_reject_rate"] == pytest.approx((0, 0.1157), abs=1e-4)
    assert alone["recall"] == pytest.approx((0.6915, 1), abs=1e-4)
    for name in ("image_auroc", "accuracy", "precision", "f1", "escape_rate"):
        ends = alone[name]
        assert ends is not None
        assert ends[1] - ends[0] > 0.05, name
    groups = [str(picture // 5) for picture in range(40)]
    grouped = picture_intervals(scores, defective, defective, draws, groups=groups)
    assert grouped["false_reject_rate"] == pytest.approx((0, 0.4593), abs=1e-4)


def test_what_no_drawing_changes_has_an_interval_of_some_width_or_none() -> None:
    defective = np.arange(9) >= 5
    draws = resample(5, 4, None, None)
    ends = picture_intervals(np.zeros(9, np.float32), np.ones(9, np.bool_), defective, draws)
    for name, value in {"image_auroc": 0.5, "accuracy": 4 / 9, "precision": 4 / 9, "f1": 8 / 13}.items():
        low, high = ends[name] or (1, 0)
        assert low < value < high, name
        assert high - low > 0.3, name
    sample = PixelSample(0, 1)
    for truth in (None, np.eye(4, dtype=np.bool_)):
        sample.add(np.eye(4, dtype=np.float32), truth)
    assert sample.intervals(resample(1, 1, None, None)) == {"pixel_auroc": None, "au_pro": None}


def test_a_figure_that_is_not_defined_has_no_interval() -> None:
    ends = picture_intervals(
        np.zeros(5, np.float32), np.zeros(5, np.bool_), np.zeros(5, np.bool_), resample(5, 0, None, None)
    )
    assert ends["image_auroc"] is None
    assert ends["recall"] is None
    sample = PixelSample(0, 1)
    sample.add(np.eye(4, dtype=np.float32), None)
    assert sample.intervals(resample(1, 0, None, None)) == {"pixel_auroc": None, "au_pro": None}


def pixel_figures(seed: int, normals: int, abnormals: int) -> tuple[PixelFigures, PixelSample]:
    """Of pictures that are darker or brighter as a whole, with defects that show more or less."""
    random = np.random.default_rng(seed)
    figures, sample = PixelFigures(-6, 12), PixelSample(-6, 12)
    for picture in range(normals + abnormals):
        pixels, truth = random.standard_normal((20, 20)) + 0.5 * random.standard_normal(), None
        if picture >= normals:
            truth = np.zeros((20, 20), np.bool_)
            truth[4:9, 4:9] = True
            pixels[truth] += random.choice([0.5, 2, 4, 5])
        figures.add(pixels.astype(np.float32), truth)
        sample.add(pixels.astype(np.float32), truth)
    return figures, sample


def test_intervals_over_pixels_lie_above_the_figures_as_rarely_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.trainer.evaluation.bootstrap.RESAMPLES", 100)
    of_many, _ = pixel_figures(1000, 800, 400)
    above = {"pixel_auroc": 0, "au_pro": 0}
    for seed in range(100):
        _, sample = pixel_figures(seed, 20, 10)
        for name, ends in sample.intervals(resample(20, 10, None, None)).items():
            above[name] += (ends or (1, 1))[0] > (
                {"pixel_auroc": of_many.auroc(), "au_pro": of_many.au_pro()}[name] or 0
            )
    assert max(above.values()) <= 5, above  # 13 and 8 where the ends are taken from what is drawn again


def test_intervals_over_pixels_of_groups_of_alike_pictures_are_wider() -> None:
    sample = PixelSample(-6, 12)
    random = np.random.default_rng(0)
    for picture in range(60):
        truth = np.zeros((20, 20), np.bool_)
        truth[4:9, 4:9] = picture >= 30
        pixels = random.standard_normal((20, 20)) + truth * (picture // 10)
        sample.add(pixels.astype(np.float32), truth)
    groups = [str(picture // 10) for picture in range(60)]
    alone = sample.intervals(resample(30, 30, None, None))
    grouped = sample.intervals(resample(30, 30, groups[:30], groups[30:]), groups=groups)
    for name in ("pixel_auroc", "au_pro"):
        lengths = [(ends or (0, 0))[1] - (ends or (0, 0))[0] for ends in (alone[name], grouped[name])]
        assert lengths[1] > 2 * lengths[0] > 0, name


def test_intervals_over_pixels_hold_the_figures() -> None:
    random = np.random.default_rng(0)
    figures, sample = PixelFigures(-3, 6), PixelSample(-3, 6)
    for picture in range(30):
        pixels = random.standard_normal((24, 24)).astype(np.float32)
        truth = None
        if picture >= 20:
            truth = np.zeros((24, 24), np.bool_)
            truth[4:10, 4:10] = True
            pixels[truth] += 1.5
        figures.add(pixels, truth)
        sample.add(pixels, truth)
    for name, ends in sample.intervals(resample(20, 10, None, None)).items():
        figure = {"pixel_auroc": figures.auroc(), "au_pro": figures.au_pro()}[name]
        assert ends is not None
        assert ends[0] <= (figure or 0) <= ends[1]
        assert ends[1] - ends[0] < 0.2
    assert pytest.approx(figures.auroc(), abs=0.1) == 0.85
