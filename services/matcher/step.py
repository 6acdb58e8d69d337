"""FeaturesExtracted → ChipInspected: match, map, mask, score, verdict."""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
from typing_extensions import override

from shared.bank.cache import BankCache
from shared.errors import Uninspectable
from shared.events import AnomalyMap, ChipInspected, FeaturesExtracted, Uninspected, Verdict
from shared.identity import Identity
from shared.stream.step import Outcome, Record, Source, Step
from shared.vision.inspection import Bank, Inspection, inspect


class MatcherStep(Step[FeaturesExtracted]):
    """Measures how far every chip is from everything seen on normal ones.

    Args:
        banks: the memory banks to judge with; closed with the step.
    """

    name = "matcher"
    consumes = FeaturesExtracted

    def __init__(self, banks: BankCache) -> None:
        self._banks = banks

    @override
    def open(self) -> None:
        self._banks.preload()

    @override
    def process(self, records: Sequence[Record[FeaturesExtracted]]) -> Sequence[Outcome]:
        outcomes: list[Outcome] = [()] * len(records)
        judged: dict[str, tuple[Bank, list[int]]] = {}
        for index, record in enumerate(records):
            event = record.event
            if event.uninspected is not None:
                outcomes[index] = self.uninspected(record.identity, record.source, event.uninspected, event)
                continue
            try:
                bank = self._banks.get(event.product, event.feature_space or "")
            except Uninspectable as error:
                outcomes[index] = error
                continue
            judged.setdefault(bank.version, (bank, []))[1].append(index)
        for bank, members in judged.values():
            events = [records[index].event for index in members]
            sizes = [(event.height or 0, event.width or 0) for event in events]
            inspections = inspect([event.grids for event in events], sizes, bank)
            for index, inspection in zip(members, inspections, strict=True):
                outcomes[index] = (_verdict(records[index], inspection, bank),)
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
    def close(self) -> None:
        self._banks.close()


def _verdict(record: Record[FeaturesExtracted], inspection: Inspection, bank: Bank) -> ChipInspected:
    event = record.event
    height, width = inspection.anomaly_map.shape
    return ChipInspected(
        **record.identity.fields(),
        verdict=Verdict.REJECT if inspection.rejected else Verdict.PASS,
        score=inspection.score,
        threshold=bank.threshold,
        bank_version=bank.version,
        feature_space=bank.feature_space,
        anomaly_map=AnomalyMap(
            height=height, width=width, values=inspection.anomaly_map.astype(np.dtype("<f2")).tobytes()
        ),
        mask=inspection.mask,
        regions=inspection.regions,
        image=event.image,
        inspected_at=datetime.now(UTC),
    )
