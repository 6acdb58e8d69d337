"""Where a stage begins in a partition whose log may not have what the group's offset points at any more.

Two things take records away behind the group's back, and the client says a word of neither: it goes to the log's start.

- They **expired** before they were read: the topic's retention, or somebody deleted them. Nobody can judge these.
- The log was **cut short**: a broker lost its power before what it had acknowledged was on the disk, a replica that was
  behind was elected, a disk was restored. The offsets are in another log, which may have kept more. What is written
  from then on gets offsets that the group seems to have been at, and would be passed over.
"""

from dataclasses import dataclass

import structlog

from shared import metrics

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Reach:
    """What a partition's log has: the records from `first` up to but without `end`."""

    first: int
    end: int


def beginning(
    where: str, committed: int | None, reach: Reach, *, stage: str, again: int, cut_short: bool = False
) -> int:
    """The offset to begin at; tells log and metrics where that is not the committed one.

    Nobody knows where a log was cut, only that it was below `committed`. So a stage goes back from there by `again`
    offsets, as many as it remembers chips: those that it dealt with it drops, the new ones among them it judges. Not to
    the log's start: most of what lies there is older than what is remembered, and would get a second verdict a day too
    late. The router remembers no chips, and says up to so many rejects twice, which a gate knows by their ids; the
    other way, from the log's end on, it would be silent about some. Where even so much is gone, the log has little to
    do with the one that the offset was of, and all of it is read.

    Args:
        where: the partition, for people.
        committed: the group's offset; None where there is none.
        reach: what the log has.
        stage: whose metrics count it.
        again: how far to go back in a log that was cut short.
        cut_short: whether it is known to have been, though it has grown beyond `committed` since.
    """
    if committed is None:
        if reach.end > reach.first:
            # New: of a log that begins at 0 nothing has expired, and much of it may be what ended transactions left.
            # Else its offsets have expired, and much of this was judged before.
            tell = log.warning if reach.first else log.info
            tell("no_offset", partition=where, begins_at=reach.first, end=reach.end)
        return reach.first
    if committed > reach.end or (cut_short and committed > reach.first):
        back = committed - again
        begins_at = max(reach.first, back if back <= reach.end else 0)
        log.error("log_cut_short", partition=where, committed=committed, end=reach.end, begins_at=begins_at)
        metrics.LOGS_CUT_SHORT.labels(stage).inc()
        return begins_at
    if committed < reach.first:
        tell_expired(where, committed, reach.first, stage=stage)
        return reach.first
    return committed


def tell_expired(where: str, expected: int, first: int, *, stage: str) -> None:
    """Say that the log begins at `first`, and that this stage has not read what lay between `expected` and there."""
    log.error("records_expired", partition=where, expected=expected, first=first, at_most=first - expected)
    metrics.RECORDS_EXPIRED.labels(stage).inc(first - expected)
