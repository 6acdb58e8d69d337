"""What the loop did, as metrics and log lines."""

from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta

import structlog

from shared import metrics, tracing
from shared.events import UninspectedReason, Verdict
from shared.stream.settled import Settled

EXEMPLAR_CHARACTERS = 70  # of an event's id: with a trace's id and the labels' names it stays below 128

log = structlog.get_logger()

_VERDICTS = frozenset(str(verdict) for verdict in Verdict)


def begun(stage: str) -> None:
    """The stage has started: what it counts stands at nought.

    A series that appears with its first event shows Prometheus no increase, and no alert would tell of that event.
    """
    for counter in (
        metrics.DEAD_LETTERS,
        metrics.REPEATED,
        metrics.TRANSACTIONS_ABORTED,
        metrics.RECORDS_EXPIRED,
        metrics.LOGS_CUT_SHORT,
    ):
        counter.labels(stage)
    for reason in UninspectedReason:
        metrics.UNINSPECTED.labels(stage, reason)


def judged(stage: str, records: int, seconds: float) -> None:
    """The worker has finished a batch."""
    metrics.BATCH_SIZE.labels(stage).observe(records)
    metrics.BATCH_SECONDS.labels(stage).observe(seconds)


def committed(
    stage: str, settled: Collection[Settled], seconds: float, worked_s: float = 0.0, *, at: datetime | None = None
) -> None:
    """A transaction with these outcomes took effect `at` a time; it took `seconds`, the work before it `worked_s`."""
    metrics.TRANSACTION_SECONDS.labels(stage).observe(seconds)
    now = at or datetime.now(UTC)
    for record in settled:
        identity = record.identity
        if record.repeated:
            metrics.REPEATED.labels(stage).inc()
            log.info("chip_repeated", **_about(record), source=str(record.received.source))
            continue
        exemplar = _exemplar(record)
        line, product = metrics.counted_as(identity.line_id, identity.product)
        metrics.CHIPS.labels(stage, record.verdict).inc()
        metrics.STAGE_SECONDS.labels(stage).observe(_since(record.received.timestamp, now), exemplar)
        metrics.CHIP_AGE_SECONDS.labels(stage).observe(_since(identity.captured_at, now), exemplar)
        metrics.LAST_CHIP.labels(stage, line).set(now.timestamp())
        if record.verdict in _VERDICTS:
            metrics.VERDICTS.labels(stage, record.verdict, line, product).inc()
        if identity.is_late(now):
            metrics.DEADLINE_MISSES.labels(stage, line).inc()
        if record.given_up:
            metrics.UNINSPECTED.labels(stage, record.given_up.reason).inc()
        if record.failure:
            metrics.DEAD_LETTERS.labels(stage).inc()
            log.warning("dead_letter", **_about(record), cause=record.failure)
    if tracing.is_on():
        _trace(stage, settled, now, now - timedelta(seconds=seconds + worked_s))


def lag(stage: str, records: int) -> None:
    """How many records of the input topic wait in the broker for this process."""
    metrics.LAG.labels(stage).set(records)


def failed(stage: str) -> None:
    """A transaction has taken no effect, as far as is known."""
    metrics.TRANSACTIONS_ABORTED.labels(stage).inc()


def rebalanced(stage: str, change: str, partitions: Collection[int], owned: Collection[int]) -> None:
    """Partitions were assigned, revoked or lost."""
    metrics.REBALANCES.labels(stage, change).inc()
    metrics.ASSIGNED_PARTITIONS.labels(stage).set(len(owned))
    log.info("rebalance", change=change, partitions=sorted(partitions), owned=sorted(owned))


def _since(then: datetime, now: datetime) -> float:
    """Seconds; none where another machine's clock is ahead of this one's, for a sum that falls looks like a restart."""
    return max(0.0, (now - then).total_seconds())


def _about(record: Settled) -> dict[str, str]:
    """By which a log line is found again."""
    about = {"event_id": record.identity.event_id, "line_id": record.identity.line_id}
    trace = record.received.trace
    return about | {"trace_id": trace.hex_id} if trace else about


def _exemplar(record: Settled) -> dict[str, str] | None:
    """The chip behind a figure; Prometheus takes 128 characters, and with a null among them nothing of an answer."""
    event_id = record.identity.event_id
    if len(event_id) > EXEMPLAR_CHARACTERS or not event_id.isprintable():
        return None
    trace = record.received.trace
    chip = {"event_id": event_id}
    return chip | {"trace_id": trace.hex_id} if trace else chip


def _trace(stage: str, settled: Iterable[Settled], now: datetime, began: datetime) -> None:
    """A span for each traced chip, from its record's arrival to its commit, and one for the batch, both linked."""
    traced = [(record, trace) for record in settled if (trace := record.received.trace)]
    if not traced:
        return
    batch = tracing.new()
    spans = []
    for record, trace in traced:
        source = record.received.source
        own = tracing.onward(trace, str(source))
        spans.append(own)
        tracing.span(
            stage,
            own,
            parent=trace,
            start=record.received.timestamp,
            end=now,
            attributes={
                "messaging.system": "kafka",
                "messaging.destination.name": source.topic,
                "messaging.destination.partition.id": str(source.partition),
                "messaging.kafka.offset": source.offset,
                "chipsieve.event_id": record.identity.event_id,
                "chipsieve.line": record.identity.line_id,
                "chipsieve.product": record.identity.product,
                "chipsieve.verdict": record.verdict,
            },
            links=[batch],
        )
    tracing.span(
        f"{stage} batch", batch, start=began, end=now, attributes={"chipsieve.traced_chips": len(spans)}, links=spans
    )
