"""An explanation for people and as JSON."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from services.cli.archive import Found
from services.cli.event_json import plain
from services.cli.explain.agreement import Compared
from services.cli.explain.recomputation import Recomputed
from shared.bank.manifest import Manifest
from shared.events import ChipInspected, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A verdict, the same verdict made again, and how they compare."""

    found: Found
    manifest: Manifest | None
    """Of the bank that the verdict names; None for a chip that was not inspected."""
    recomputed: Recomputed
    compared: tuple[Compared, ...]
    travelled: bool
    """Whether the features that the chip was judged by are still kept."""
    features_differ: str | None = None
    """How they differ from those made again."""
    follows_from_travelled: bool | None = None
    """Whether the verdict follows from them where they differ."""

    @property
    def agrees(self) -> bool:
        """Whether picture and bank give the verdict that was said, to the last bit."""
        return all(each.same for each in self.compared)

    @property
    def other_engine(self) -> str | None:
        """The engine that it was made again with, where that is not the one that the verdict names."""
        ours = self.recomputed.features.engine if self.recomputed.features else None
        return None if ours == self.found.verdict.engine else ours

    def document(self) -> dict[str, Any]:
        """As plain JSON."""
        said = self.found.verdict
        return {
            "event_id": said.event_id,
            "chip_id": said.chip_id,
            "line_id": said.line_id,
            "product": said.product,
            "verdict": said.verdict,
            "agrees": self.agrees,
            "place": self.found.place,
            "earlier_verdicts": self.found.others,
            "bank_version": said.bank_version,
            "feature_space": said.feature_space,
            "engine": said.engine,
            "recomputed_with": self.recomputed.features.engine if self.recomputed.features else None,
            "score": said.score,
            "threshold": said.threshold,
            "shares": [asdict(share) for share in self.recomputed.shares],
            "features": {
                "kept": self.travelled,
                "same": self.features_differ is None if self.travelled else None,
                "difference": self.features_differ,
                "verdict_follows": self.follows_from_travelled,
            },
            "compared": [
                {
                    "field": each.field,
                    "same": each.same,
                    "said": plain(each.said),
                    "recomputed": plain(each.recomputed),
                    "difference": each.difference,
                }
                for each in self.compared
            ],
        }

    def sentences(self) -> Iterator[str]:
        """Lines for people."""
        said = self.found.verdict
        yield f"chip {said.chip_id} of {said.line_id}, product {said.product}, event {said.event_id}"
        another_day = said.inspected_at.date() != said.captured_at.date()  # after an outage, or around midnight
        judged = f"{said.inspected_at:{'%Y-%m-%d ' if another_day else ''}%H:%M:%S.%f}"
        yield (
            f"captured {said.captured_at:%Y-%m-%d %H:%M:%S.%f} UTC, judged {judged}; "
            f"the verdict lies at {self.found.place}"
        )
        if self.found.others:
            yield f"{self.found.others} earlier verdicts on this event; this is the last"
        yield ""
        yield from self._why(said)
        yield ""
        yield f"made again from the picture{' and that bank' if self.manifest else ''}, by the same code:"
        for each in self.compared:
            yield f"  {'same   ' if each.same else 'DIFFERS'}  {each.field}{_shown(each)}"
        yield from self._where_it_differs()
        yield ""
        yield self._conclusion(said)

    def _why(self, said: ChipInspected) -> Iterator[str]:
        if said.verdict is Verdict.UNINSPECTED and said.uninspected:
            cause = said.uninspected
            yield f"UNINSPECTED, {cause.reason}: the {cause.stage} could not judge it ({cause.detail})"
            return
        score, threshold = said.score or 0.0, said.threshold or 0.0
        side = "above" if score > threshold else "not above"
        kind = f", most like a {said.defect_kind}" if said.defect_kind else ""
        yield f"{said.verdict}{kind}: the score {score:.4f} is {side} the threshold {threshold:.4f}"
        shares = self.recomputed.shares
        parts = [f"{share.of}{f' ({share.metric})' if share.metric else ''} {share.score:+.4f}" for share in shares]
        yield f"  score      {', '.join(parts)}; in deviations of good chips"
        if self.manifest:
            yield f"  threshold  {self.manifest.calibration.promise}"
        yield f"  where      {self._where(said)}"
        if said.image:
            picture = self.recomputed.picture
            size = f", {picture.shape[1]} x {picture.shape[0]} pixels" if picture is not None else ""
            place = f"{said.image.topic}:{said.image.partition}:{said.image.offset}"
            yield f"  picture    {place}{size}, sha256 as captured"
        yield f"  bank       {said.bank_version}, feature space {said.feature_space}"
        yield f"  engine     {said.engine or 'not named: a verdict of old'}"
        if self.other_engine:
            yield f"             made again with {self.other_engine}: other last digits may come of that"

    def _where(self, said: ChipInspected) -> str:
        limit = f"the mask's threshold {self.manifest.mask_threshold:.4f}" if self.manifest else "the mask's threshold"
        if not said.regions:
            return f"nowhere above {limit}"
        worst = said.regions[0]
        return (
            f"{len(said.regions)} region{'s' if len(said.regions) > 1 else ''} above {limit}; the worst peaks at "
            f"{worst.peak:.4f}, {worst.width} x {worst.height} pixels at ({worst.x}, {worst.y})"
        )

    def _where_it_differs(self) -> Iterator[str]:
        if not self.travelled:
            if not self.agrees and self.recomputed.features:
                yield "the features that it was judged by are not kept any more: whether they differ cannot be told"
        elif self.features_differ is None:
            yield "  same     the features that travelled from extractor to matcher"
        else:
            yield f"  DIFFERS  the features that travelled from extractor to matcher: {self.features_differ}"
            follows = "follows" if self.follows_from_travelled else "does not follow"
            yield f"the verdict {follows} from the features that travelled"

    def _conclusion(self, said: ChipInspected) -> str:
        if self.agrees:
            give = f"the picture and bank {said.bank_version} give" if said.bank_version else "the picture gives"
            return f"agrees: {give} this verdict, bit for bit"
        return f"differs in {', '.join(each.field for each in self.compared if not each.same)}"


def _shown(each: Compared) -> str:
    if not each.same:
        return f": {each.difference}"
    match each.said:
        case None | ():
            return ": none"
        case str() | float():
            return f": {each.said}"
        case tuple():
            return f": {len(each.said)}"
        case _:
            return ""
