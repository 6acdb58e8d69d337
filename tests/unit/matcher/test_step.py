from dataclasses import replace

import numpy as np
import pytest

from services.matcher.step import MatcherStep
from shared.bank.errors import BankUnavailable, UnknownFeatureSpace
from shared.errors import NotReady
from shared.events import FeaturesExtracted, ImagePointer, Uninspected, UninspectedReason, Verdict
from shared.stream.errors import RecordsNotReady
from shared.stream.step import Source
from shared.vision.bank import Bank
from shared.vision.calibration import Calibration, LayerCalibration, PlaceSpread, Spread
from shared.vision.errors import UnusableFeatures
from shared.vision.features import quantise
from shared.vision.head import Head, HeadFigures
from shared.vision.memory_bank import LayerBank
from shared.vision.promise import Promise
from shared.vision.recipe import Layer, Recipe
from tests.events_of_chips import identity, record_of

LAYER = Layer(tap="b12", input_size=64, top_fraction=0.25)
POINTER = ImagePointer(topic="images", partition=0, offset=3, sha256="ab")
UNIT = LayerCalibration(
    patch=Spread(mean=0.0, std=1.0),
    place=PlaceSpread(rows=1, columns=1, means=(0.0,), stds=(1.0,)),
    score=Spread(mean=0.0, std=1.0),
)
PROMISE = Promise(asked_rate=0.01, promised_rate=0.01, confidence=0.95, pictures=300, tolerated=0)


def bank(version: str = "v1", feature_space: str = "space", threshold: float = 0.5) -> Bank:
    """Knows one direction as normal; the score is the largest 1 - cosine to it."""
    return Bank(
        product="soic-8",
        version=version,
        feature_space=feature_space,
        recipe=Recipe(layers=(LAYER,)),
        layers=(LayerBank(np.array([[100, 0]], np.int8), np.ones(1, np.float32)),),
        calibration=Calibration(layers=(UNIT,), promise=PROMISE),
        threshold=threshold,
        mask_threshold=0.5,
    )


class Banks:
    """Stands in for Redis: banks by feature space."""

    def __init__(self, *banks: Bank) -> None:
        self.by_space = {bank.feature_space: bank for bank in banks}
        self.away = False

    def preload(self) -> None:
        pass

    def get(self, product: str, feature_space: str) -> Bank:
        if self.away:
            raise BankUnavailable("Redis is away")
        if feature_space not in self.by_space:
            raise UnknownFeatureSpace(feature_space)
        return self.by_space[feature_space]

    def not_ready_because(self) -> str | None:
        return "Redis is away" if self.away else None

    def degraded_because(self) -> str | None:
        return "banks may be outdated" if self.away else None

    def close(self) -> None:
        pass


def features(number: int = 0, *, odd_patch: bool = False, **fields: object) -> FeaturesExtracted:
    """Four patches, all normal or the last one as odd as can be."""
    grid = np.zeros((2, 2, 2), np.float32)
    grid[..., 0] = 1
    if odd_patch:
        grid[1, 1] = [0, 1]
    plain = identity(number).fields() | {
        "image": POINTER,
        "width": 60,
        "height": 40,
        "feature_space": "space",
        "grids": (quantise(LAYER.name, grid),),
    }
    return FeaturesExtracted(**(plain | fields))


def test_a_chip_like_the_normal_ones_passes() -> None:
    ((verdict,),) = MatcherStep(Banks(bank())).process([record_of(features())])
    assert (verdict.event_id, verdict.verdict, verdict.uninspected) == ("event-0", Verdict.PASS, None)
    assert verdict.score == pytest.approx(0, abs=1e-5)
    assert (verdict.mask, verdict.regions, verdict.image) == (None, (), POINTER)


def test_a_chip_with_an_odd_patch_is_rejected_and_shows_where() -> None:
    ((verdict,),) = MatcherStep(Banks(bank())).process([record_of(features(odd_patch=True))])
    assert (verdict.verdict, verdict.score) == (Verdict.REJECT, pytest.approx(1, abs=1e-5))
    coarse = np.frombuffer(verdict.anomaly_map.values, "<f2").reshape(2, 2)
    assert coarse.argmax() == 3
    assert (verdict.mask.height, verdict.mask.width) == (40, 60)
    assert verdict.regions[0].x + verdict.regions[0].width == 60


def test_a_verdict_names_what_it_was_made_with() -> None:
    record = record_of(features(engine="openvino 2026.2.1 f32 on a CPU"))
    ((verdict,),) = MatcherStep(Banks(bank("v7", threshold=0.25))).process([record])
    assert (verdict.bank_version, verdict.feature_space, verdict.threshold) == ("v7", "space", 0.25)
    assert verdict.engine == "openvino 2026.2.1 f32 on a CPU"


def test_a_head_adds_to_the_score_and_names_the_kind_of_what_is_rejected() -> None:
    figures = HeadFigures(
        weight=10.0, spread=Spread(mean=-1.0, std=1.0), gamma=1.0, offsets=(-1.0, 0.0, 0.0), kinds=("blot", "crack")
    )
    # It was shown one crack that is described just as the chip with the odd patch is: its mean and its deviation.
    crack = np.array([[0.75, 0.25, np.sqrt(3) / 4, np.sqrt(3) / 4]], np.float16)
    plain = np.zeros(4, np.float32)
    head = Head(figures, plain, plain + 1, crack, np.array([[2.0, -1.0, 1.0]], np.float32))
    step = MatcherStep(Banks(replace(bank(threshold=15.0), head=head)))
    (good,), (bad,) = step.process([record_of(features(0)), record_of(features(1, odd_patch=True))])
    assert (bad.verdict, bad.defect_kind) == (Verdict.REJECT, "crack")
    assert bad.score == pytest.approx(1 + 10 * 2, abs=0.05)
    assert (good.verdict, good.defect_kind) == (Verdict.PASS, None)
    assert good.score < 15


def test_every_chip_is_judged_in_its_own_feature_space() -> None:
    step = MatcherStep(Banks(bank("old", "old-space"), bank("new", "new-space")))
    spaces = ["old-space", "new-space", "old-space"]
    outcomes = step.process([record_of(features(n, feature_space=space)) for n, space in enumerate(spaces)])
    assert [outcome[0].bank_version for outcome in outcomes] == ["old", "new", "old"]
    assert [outcome[0].event_id for outcome in outcomes] == ["event-0", "event-1", "event-2"]


def test_a_chip_of_an_unknown_feature_space_does_not_disturb_its_neighbours() -> None:
    step = MatcherStep(Banks(bank()))
    first, unknown, last = step.process(
        [record_of(features(0)), record_of(features(1, feature_space="alien")), record_of(features(2))]
    )
    assert isinstance(unknown, UnknownFeatureSpace)
    assert (first[0].verdict, last[0].verdict) == (Verdict.PASS, Verdict.PASS)


def test_features_without_a_feature_space_are_not_judged() -> None:
    (outcome,) = MatcherStep(Banks(bank())).process([record_of(features(feature_space=None))])
    assert isinstance(outcome, UnknownFeatureSpace)


@pytest.mark.parametrize("side", ["height", "width"])
def test_features_without_the_size_of_their_picture_are_not_judged(side: str) -> None:
    with pytest.raises(UnusableFeatures, match="extract them again"):
        MatcherStep(Banks(bank())).process([record_of(features(**{side: None}))])


def test_a_chip_the_extractor_gave_up_on_is_uninspected_for_the_extractors_reason() -> None:
    cause = Uninspected(reason=UninspectedReason.UNDECODABLE_IMAGE, detail="truncated", stage="extractor")
    given_up = features(feature_space=None, grids=(), uninspected=cause)
    ((verdict,),) = MatcherStep(Banks(bank())).process([record_of(given_up)])
    assert (verdict.verdict, verdict.uninspected, verdict.image) == (Verdict.UNINSPECTED, cause, POINTER)
    assert (verdict.score, verdict.threshold, verdict.bank_version) == (None, None, None)


def test_the_first_reason_stays_when_a_given_up_chip_also_comes_late() -> None:
    first = Uninspected(reason=UninspectedReason.UNDECODABLE_IMAGE, detail="truncated", stage="extractor")
    late = Uninspected(reason=UninspectedReason.TOO_LATE, detail="late", stage="matcher")
    given_up = features(feature_space=None, grids=(), uninspected=first)
    (verdict,) = MatcherStep(Banks(bank())).uninspected(identity(), Source("features", 0, 0), late, given_up)
    assert verdict.uninspected == first


def test_a_chip_that_comes_late_names_its_picture_and_its_feature_space() -> None:
    late = Uninspected(reason=UninspectedReason.TOO_LATE, detail="late", stage="matcher")
    (verdict,) = MatcherStep(Banks(bank())).uninspected(identity(), Source("features", 0, 0), late, features())
    assert (verdict.uninspected, verdict.image, verdict.feature_space) == (late, POINTER, "space")


def test_a_record_that_is_no_event_is_uninspected() -> None:
    cause = Uninspected(reason=UninspectedReason.MALFORMED_RECORD, detail="garbage", stage="matcher")
    (verdict,) = MatcherStep(Banks(bank())).uninspected(identity(5), Source("features", 0, 0), cause, None)
    assert (verdict.event_id, verdict.verdict, verdict.uninspected) == ("event-5", Verdict.UNINSPECTED, cause)


def test_without_redis_nothing_is_given_up() -> None:
    banks = Banks(bank())
    banks.away = True
    with pytest.raises(NotReady):
        MatcherStep(banks).process([record_of(features())])


def test_the_step_is_as_ready_as_its_banks() -> None:
    banks = Banks(bank())
    step = MatcherStep(banks)
    assert (step.not_ready_because(), step.degraded_because()) == (None, None)
    banks.away = True
    assert (step.not_ready_because(), step.degraded_because()) == ("Redis is away", "banks may be outdated")


def test_a_product_whose_bank_cannot_be_had_makes_its_chips_wait_and_no_others() -> None:
    class OneDamaged(Banks):
        def get(self, product: str, feature_space: str) -> Bank:
            if product == "damaged":
                raise BankUnavailable("the active bank of damaged is damaged: publish it again (or roll back)")
            return super().get(product, feature_space)

    step = MatcherStep(OneDamaged(bank()))
    products = ["soic-8", "damaged", "soic-8", "damaged"]
    records = [record_of(features(n, product=product), offset=n) for n, product in enumerate(products)]
    with pytest.raises(RecordsNotReady, match="publish it again") as raised:
        step.process(records)
    assert raised.value.reasons.keys() == {records[1].source, records[3].source}
    assert [outcome[0].verdict for outcome in step.process([records[0], records[2]])] == [Verdict.PASS] * 2


def test_a_map_beyond_what_its_wire_format_holds_is_as_large_as_that_gets() -> None:
    never_varied = replace(UNIT, patch=Spread(mean=0.0, std=1e-9))
    step = MatcherStep(Banks(replace(bank(), calibration=Calibration(layers=(never_varied,), promise=PROMISE))))
    ((verdict,),) = step.process([record_of(features(odd_patch=True))])
    coarse = np.frombuffer(verdict.anomaly_map.values, "<f2")
    assert coarse.max() == 65504
