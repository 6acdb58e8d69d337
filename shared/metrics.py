"""Every metric of the services.

`stage` is the step's name. Restarts are `changes(process_start_time_seconds[1h])`, which prometheus_client exports by
itself beside the process's memory and CPU.
"""

from typing import TypeVar

from prometheus_client import Counter, Gauge, Histogram, Info

T = TypeVar("T")

_LATENCY_BUCKETS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300)

# Records committed, by what was said of the chip: PASS, REJECT, UNINSPECTED, or FORWARDED where the stage says nothing.
CHIPS = Counter("chipsieve_chips", "Records committed by a stage", ["stage", "verdict"])

# What was said of each chip, by line and product. Count one stage alone: the matcher says it of every chip.
VERDICTS = Counter("chipsieve_verdicts", "Chips by verdict, line and product", ["stage", "verdict", "line", "product"])

# When the last chip of a line was committed: `time() - max by (line) (…)` is how long it has been silent.
LAST_CHIP = Gauge(
    "chipsieve_last_chip_timestamp_seconds", "When a line's last chip was committed, since 1970", ["stage", "line"]
)

# Chips whose outcome was committed after their `verdict_by`, those that were shed for it included.
DEADLINE_MISSES = Counter("chipsieve_deadline_misses", "Chips committed past their deadline", ["stage", "line"])

# Chips this stage itself gave up, by reason. `reason="TOO_LATE"` counts the chips shed past their deadline.
UNINSPECTED = Counter("chipsieve_uninspected", "Chips a stage could not judge", ["stage", "reason"])

# Records in the dead-letters topic. Never more than UNINSPECTED: late chips leave none.
DEAD_LETTERS = Counter("chipsieve_dead_letters", "Failed records written to the dead letters", ["stage"])

# Records dropped because their chip was dealt with before: its sender repeated it. They count in no other metric.
REPEATED = Counter("chipsieve_repeated", "Records of chips that were dealt with before", ["stage"])

# Offsets of the input topic that expired, or were deleted, before this stage read them. Markers of transactions count
# as one each: after a pause longer than the retention in which workers of the stage before were started, that may be
# all there was.
RECORDS_EXPIRED = Counter("chipsieve_records_expired", "Records that were gone before they were read", ["stage"])

# Partitions whose log ends below the offset that this stage had committed: the broker lost acknowledged records.
LOGS_CUT_SHORT = Counter("chipsieve_logs_cut_short", "Partitions that lost records this stage had read", ["stage"])

# How full the micro-batches are: near 1 the stage idles, at 16 and more chips wait for it.
BATCH_SIZE = Histogram(
    "chipsieve_batch_size", "Records in a micro-batch", ["stage"], buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
)

# Decoding, processing and encoding one micro-batch on the worker thread.
BATCH_SECONDS = Histogram(
    "chipsieve_batch_seconds", "Seconds the worker took for a micro-batch", ["stage"], buckets=_LATENCY_BUCKETS
)

# From a record's arrival at the broker, by the broker's clock, to the commit of its outcome: waiting, batching, work
# and transaction.
STAGE_SECONDS = Histogram(
    "chipsieve_stage_seconds", "Seconds a record spent in a stage", ["stage"], buckets=_LATENCY_BUCKETS
)

# From the camera to the commit of this stage's outcome; at the last stage, the age of the verdict. A picture from the
# future counts as 0 (the gateway counts those as CLOCK_AHEAD), or one fast clock would spoil the sum for good.
CHIP_AGE_SECONDS = Histogram(
    "chipsieve_chip_age_seconds", "Seconds since a chip's picture was taken", ["stage"], buckets=_LATENCY_BUCKETS
)

# begin, produce, send offsets, commit. About 10 ms; 100 ms and more is a slow broker, or another retry.backoff.ms than
# shared.kafka sets.
TRANSACTION_SECONDS = Histogram(
    "chipsieve_transaction_seconds", "Seconds a transaction took", ["stage"], buckets=_LATENCY_BUCKETS
)

# Transactions that took no effect; their records were read again.
TRANSACTIONS_ABORTED = Counter("chipsieve_transactions_aborted", "Transactions aborted and done again", ["stage"])

# Partitions of the input topic this process has now.
ASSIGNED_PARTITIONS = Gauge("chipsieve_assigned_partitions", "Partitions assigned", ["stage"])

# Times partitions came or went.
REBALANCES = Counter("chipsieve_rebalances", "Partitions gained, revoked or lost", ["stage", "change"])

# Records received that wait for the worker.
BUFFERED = Gauge("chipsieve_buffered_records", "Records waiting for the worker", ["stage"])

# Records of the input topic that this process has not taken yet, over its partitions. The markers in which transactions
# end count as long as they have not been passed over.
LAG = Gauge("chipsieve_lag_records", "Records of the input topic not taken yet", ["stage"])

# The bank version that a product is judged by, as a label.
BANK = Info("chipsieve_bank", "Active bank version of a product", ["product"])

# 1 while /readyz says so.
READY = Gauge("chipsieve_ready", "Whether the stage can judge a chip now, or the gateway store a picture", ["stage"])

# Memory banks (at a matcher) or recipes (at an extractor) held in memory.
BANKS_HELD = Gauge("chipsieve_banks_held", "Banks or recipes held", ["holds"])

# What is wrong with the published banks, as this process sees it; 0 where nothing is. `unreachable` and `empty` (no
# bank of any product is active) are 1 where Redis is so. `lost` counts held products whose active bank Redis has no
# more, `refused` those whose active version is damaged: both go on with what is held. Chips of products that are
# `lacking` wait.
BANK_TROUBLE = Gauge("chipsieve_bank_trouble", "What is wrong with the published banks", ["holds", "trouble"])

# The gateway: pictures offered, by the way they came (http, folder) and what became of them: STORED, or why not.
IMAGES = Counter("chipsieve_images", "Pictures offered to the gateway", ["source", "outcome"])

# The gateway: pictures that say that they were taken in the future. They are taken in all the same; the clock of that
# line's camera is fast, and whatever is reckoned from its time (deadlines, ages) is off by as much.
CLOCK_AHEAD = Counter("chipsieve_clock_ahead", "Pictures offered that come from the future", ["source", "line"])

# From the first byte of a request to its answer; most of it is the sender's network and Kafka's acknowledgement.
STORE_SECONDS = Histogram(
    "chipsieve_store_seconds", "Seconds until a picture was answered", ["source"], buckets=_LATENCY_BUCKETS
)


LINES_COUNTED = 1000
"""Lines that are counted each for itself, more than a plant has, and as many pairs of line and product. A sender that
makes up names must not fill the memory of this process and of Prometheus; those beyond count as `other`."""
OTHER = "other"
_lines: set[str] = set()
_pairs: set[tuple[str, str]] = set()


def counted_as(line: str, product: str) -> tuple[str, str]:
    """A chip's line and product as labels.

    A line keeps its name however many products it makes in the months that a process runs: alerts are about lines.
    """
    if not _is_counted(line, _lines):
        return OTHER, OTHER
    return line, product if _is_counted((line, product), _pairs) else OTHER


def _is_counted(name: T, known: set[T]) -> bool:
    if name not in known and len(known) < LINES_COUNTED:
        known.add(name)
    return name in known
