"""What the loop did, as metrics and log lines."""

from collections.abc import Collection
from datetime import UTC, datetime

import structlog

from shared import telemetry
from shared.stream.judgement import Settled

log = structlog.get_logger()


def judged(stage: str, records: int, seconds: float) -> None:
    """The worker has finished a batch."""
    telemetry.BATCH_SIZE.labels(stage).observe(records)
    telemetry.BATCH_SECONDS.labels(stage).observe(seconds)


def committed(stage: str, settled: Collection[Settled], seconds: float) -> None:
    """A transaction with these outcomes has taken effect."""
    telemetry.TRANSACTION_SECONDS.labels(stage).observe(seconds)
    now = datetime.now(UTC)
    for record in settled:
        if record.repeated:
            telemetry.REPEATED.labels(stage).inc()
            log.info("chip_repeated", event_id=record.identity.event_id, source=str(record.received.source))
            continue
        telemetry.CHIPS.labels(stage, record.verdict).inc()
        telemetry.STAGE_SECONDS.labels(stage).observe((now - record.received.timestamp).total_seconds())
        telemetry.CHIP_AGE_SECONDS.labels(stage).observe((now - record.identity.captured_at).total_seconds())
        if record.given_up:
            telemetry.UNINSPECTED.labels(stage, record.given_up.reason).inc()
        if record.failure:
            telemetry.DEAD_LETTERS.labels(stage).inc()
            log.warning("dead_letter", event_id=record.identity.event_id, cause=record.failure)


def failed(stage: str) -> None:
    """A transaction has taken no effect, as far as is known."""
    telemetry.TRANSACTIONS_ABORTED.labels(stage).inc()


def rebalanced(stage: str, change: str, partitions: Collection[int], owned: Collection[int]) -> None:
    """Partitions were assigned, revoked or lost."""
    telemetry.REBALANCES.labels(stage, change).inc()
    telemetry.ASSIGNED_PARTITIONS.labels(stage).set(len(owned))
    log.info("rebalance", change=change, partitions=sorted(partitions), owned=sorted(owned))
