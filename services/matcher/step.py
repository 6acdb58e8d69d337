"""FeaturesExtracted → ChipInspected: match, map, mask, score, verdict."""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
from typing_extensions import override

from shared.bank.bank_cache import BankCache
from shared.errors import NotReady, Uninspectable
from shared.events import AnomalyMap, ChipInspected, FeaturesExtracted, Uninspected, Verdict
from shared.identity import Identity, identity_of
from shared.stream.errors import RecordsNotReady
from shared.stream.step import Outcome, Record, Source, Step
from shared.vision.bank import Bank
from shared.vision.inspection import Inspection, inspect

WIRE = np.dtype("<f2")
# Where normal pictures never varied, what does vary lies 1e8 deviations and more from them: infinite in float16.
LARGEST = float(np.finfo(WIRE).max)


class MatcherStep(Step[FeaturesExtracted]):
    """Measures how far every chip is from everything seen on normal ones.

    Args:
        banks: the memory banks to judge with; closed with the step.
    """

    name = "matcher"
    consumes = FeaturesExtracted
    produces = (ChipInspected,)
    takes_each_chip_once = True

    def __init__(self, banks: BankCache) -> None:
        self._banks = banks

    @override
    def open(self) -> None:
        self._banks.preload()

    @override
    def process(self, records: Sequence[Record[FeaturesExtracted]]) -> Sequence[Outcome]:
        outcomes: list[Outcome] = [()] * len(records)
        chips: dict[tuple[str, str], list[int]] = {}
        for index, record in enumerate(records):
            event = record.event
            if event.uninspected is not None:
                outcomes[index] = self.uninspected(record.identity, record.source, event.uninspected, event)
            else:
                chips.setdefault((event.product, event.feature_space or ""), []).append(index)
        # One bank for all of a batch's chips of a kind, even where a new version comes meanwhile; and all banks first:
        # where one cannot be had now, its chips wait and nothing is matched in vain.
        banks = {kind: self._bank(*kind) for kind in chips}
        missing = {kind: str(bank) for kind, bank in banks.items() if isinstance(bank, NotReady)}
        if missing:
            raise RecordsNotReady(
                {records[index].source: why for kind, why in missing.items() for index in chips[kind]}
            )
        for kind, members in chips.items():
            bank = banks[kind]
            assert not isinstance(bank, NotReady)  # noqa: S101 - raised above
            if isinstance(bank, Uninspectable):
                for index in members:
                    outcomes[index] = bank
                continue
            events = [records[index].event for index in members]
            sizes = [(event.height or 0, event.width or 0) for event in events]
            inspections = inspect([event.grids for event in events], sizes, bank)
            for index, inspection in zip(members, inspections, strict=True):
                outcomes[index] = (judged(records[index].event, inspection, bank),)
        return outcomes

    @override
    def uninspected(
        self, identity: Identity, source: Source, cause: Uninspected, event: FeaturesExtracted | None
    ) -> Sequence[ChipInspected]:
        # A chip that an earlier stage gave up on keeps that stage's reason, whatever happens to it here.
        return (
            ChipInspected(
                **identity.fields(),
                verdict=Verdict.UNINSPECTED,
                uninspected=event.uninspected if event is not None and event.uninspected is not None else cause,
                feature_space=event.feature_space if event is not None else None,
                image=event.image if event is not None else None,
                inspected_at=datetime.now(UTC),
            ),
        )

    @override
    def not_ready_because(self) -> str | None:
        return self._banks.not_ready_because()

    @override
    def degraded_because(self) -> str | None:
        return self._banks.degraded_because()

    @override
    def close(self) -> None:
        self._banks.close()

    def _bank(self, product: str, feature_space: str) -> Bank | Uninspectable | NotReady:
        try:
            return self._banks.get(product, feature_space)
        except (Uninspectable, NotReady) as error:
            return error


def judged(event: FeaturesExtracted, inspection: Inspection, bank: Bank) -> ChipInspected:
    """The verdict that follows from a chip's features."""
    height, width = inspection.anomaly_map.shape
    return ChipInspected(
        **identity_of(event).fields(),
        verdict=Verdict.REJECT if inspection.rejected else Verdict.PASS,
        score=inspection.score,
        threshold=bank.threshold,
        defect_kind=inspection.defect_kind,
        bank_version=bank.version,
        feature_space=bank.feature_space,
        engine=event.engine,
        anomaly_map=AnomalyMap(
            height=height, width=width, values=inspection.anomaly_map.clip(-LARGEST, LARGEST).astype(WIRE).tobytes()
        ),
        mask=inspection.mask,
        regions=inspection.regions,
        image=event.image,
        inspected_at=datetime.now(UTC),
    )
