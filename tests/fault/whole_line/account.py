"""What came out of a run, held against what was sent and against the run without faults."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from confluent_kafka import Consumer

from services.cli.line import STAGES
from shared.events import AlertRaised, ChipInspected, ChipRejected, DeadLetter, Verdict
from shared.kafka import reader_config
from shared.settings import Settings
from shared.topics import Topics
from tests.fault.whole_line.chips import POISON, Chip, Kind
from tests.fault.whole_line.progress import partitions_of
from tests.kafka_records import Records

SCORE_NOISE = 1e-3  # of one picture in different batches
EXAMPLES = 5  # of what is wrong, in words
INPUTS = {"extractor": "images", "matcher": "features", "router": "inspections"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything committed by a run; of one line in the line's order."""

    verdicts: list[ChipInspected]
    rejects: list[ChipRejected]
    alerts: list[AlertRaised]
    dead_letters: list[DeadLetter]
    unread: list[str]
    """Committed records that a stage's group has not read, in words."""


@dataclass(frozen=True, slots=True)
class Account:
    """How far a run is from what was promised. Everything but `sent`, `verdicts` and `dead_letters` must be 0."""

    sent: int
    verdicts: int
    lost: int
    """Chips without a verdict."""
    duplicated: int
    """Verdicts beyond a chip's first, and verdicts on chips that were never sent."""
    reordered: int
    """Verdicts on chips that were sent before one of their line which already had its own."""
    misjudged: int
    """Chips whose verdict, score or reason is another than without faults."""
    dead_letters: int
    poison_misplaced: int
    """Poison chips that are not UNINSPECTED with their reason, or not exactly once among the dead letters; and dead
    letters of other chips."""
    rejects_differing: int
    """Rejects that are missing, twice, too many or at another place of their line than without faults."""
    alerts_differing: int
    """Alerts that are missing, twice or too many, against those without faults."""
    unread: int
    """Committed records that a stage's group has not read."""
    examples: list[str]
    """Some of what is wrong, in words."""

    @property
    def is_exact(self) -> bool:
        """Whether every promise was kept."""
        wrong = (self.lost, self.duplicated, self.reordered, self.misjudged, self.poison_misplaced)
        return not any((*wrong, self.rejects_differing, self.alerts_differing, self.unread))


def read_outcome(settings: Settings, topics: Topics) -> Outcome:
    """All that a run committed; nobody may write to its topics any more."""
    records = Records(topics, settings)
    return Outcome(
        verdicts=records.committed("inspections"),
        rejects=records.committed("rejects"),
        alerts=records.committed("alerts"),
        dead_letters=records.committed("dead-letters"),
        unread=[place for stage in STAGES for place in _unread(settings, topics, records, stage)],
    )


def _unread(settings: Settings, topics: Topics, records: Records, stage: str) -> list[str]:
    group = f"{settings.topic_prefix}chipsieve-{stage}"
    consumer = Consumer(reader_config(settings.kafka, topics, group))
    messages = records.committed_messages(INPUTS[stage])
    try:
        places = consumer.committed(partitions_of(topics.by_name[INPUTS[stage]]), timeout=30)
    finally:
        consumer.close()
    read_to = {place.partition: max(0, place.offset) for place in places}
    return [
        f"{message.topic()}:{message.partition()}:{message.offset()} by {stage}, which committed {read_to}"
        for message in messages
        if message.offset() >= read_to[message.partition()]
    ]


def account(chips: Sequence[Chip], baseline: Outcome, outcome: Outcome) -> Account:
    """Hold a run against its chips, and against the same chips' run without faults."""
    sent = {chip.event_id: chip for chip in chips}
    seen = Counter(verdict.event_id for verdict in outcome.verdicts)
    lost = [event_id for event_id in sent if not seen[event_id]]
    twice = [event_id for event_id, count in seen.items() for _ in range(count - (event_id in sent))]
    reordered = _reordered(outcome.verdicts)
    misjudged = _misjudged(baseline.verdicts, outcome.verdicts)
    misplaced = _misplaced_poison(sent, outcome)
    rejects = _differing(_rejects_by_line(baseline), _rejects_by_line(outcome))
    alerts = _differing({"": _alerts(baseline)}, {"": _alerts(outcome)})
    named = {
        "lost": lost,
        "duplicated": twice,
        "reordered": reordered,
        "misjudged": misjudged,
        "poison misplaced": misplaced,
        "rejects differing": rejects,
        "alerts differing": alerts,
        "unread": outcome.unread,
    }
    return Account(
        sent=len(sent),
        verdicts=len(outcome.verdicts),
        lost=len(lost),
        duplicated=len(twice),
        reordered=len(reordered),
        misjudged=len(misjudged),
        dead_letters=len(outcome.dead_letters),
        poison_misplaced=len(misplaced),
        rejects_differing=len(rejects),
        alerts_differing=len(alerts),
        unread=len(outcome.unread),
        examples=[f"{what}: {example}" for what, found in named.items() for example in found[:EXAMPLES]],
    )


def _reordered(verdicts: Iterable[ChipInspected]) -> list[str]:
    """Event ids ascend along each line; the second verdict on a chip is no matter of order."""
    found = []
    latest: dict[str, str] = {}
    seen: set[str] = set()
    for verdict in verdicts:
        if verdict.event_id in seen:
            continue
        seen.add(verdict.event_id)
        before = latest.get(verdict.line_id, "")
        if verdict.event_id < before:
            found.append(f"{verdict.event_id} after {before} on {verdict.line_id}")
        latest[verdict.line_id] = max(before, verdict.event_id)
    return found


def _misjudged(baseline: Iterable[ChipInspected], verdicts: Iterable[ChipInspected]) -> list[str]:
    expected = {verdict.event_id: verdict for verdict in baseline}
    found = []
    for verdict in verdicts:
        wanted = expected.get(verdict.event_id)
        if wanted is None:
            continue
        if (verdict.verdict, _reason(verdict)) != (wanted.verdict, _reason(wanted)):
            found.append(
                f"{verdict.event_id}: {verdict.verdict} {verdict.uninspected}, "
                f"else {wanted.verdict} {wanted.uninspected}"
            )
        elif abs((verdict.score or 0) - (wanted.score or 0)) > SCORE_NOISE:
            found.append(f"{verdict.event_id}: score {verdict.score}, else {wanted.score}")
    return found


def _reason(verdict: ChipInspected | ChipRejected) -> object:
    return verdict.uninspected.reason if verdict.uninspected else None


def _misplaced_poison(sent: dict[str, Chip], outcome: Outcome) -> list[str]:
    found = []
    letters = Counter(letter.event_id for letter in outcome.dead_letters)
    for event_id, count in letters.items():
        chip = sent.get(event_id)
        if chip is None or not chip.is_poison or count > 1:
            found.append(f"{event_id}, {chip.kind if chip else 'never sent'}: {count} dead letters")
    for event_id, chip in sent.items():
        if chip.is_poison and not letters[event_id]:
            found.append(f"{event_id}, {chip.kind}: no dead letter")
    for verdict in outcome.verdicts:
        kind = sent[verdict.event_id].kind if verdict.event_id in sent else None
        if kind in POISON and (verdict.verdict, _reason(verdict)) != (Verdict.UNINSPECTED, POISON[kind]):
            found.append(f"{verdict.event_id}, {kind}: {verdict.verdict} {verdict.uninspected}")
        if kind is Kind.LATE and verdict.verdict is not Verdict.UNINSPECTED:
            found.append(f"{verdict.event_id}, {kind}: {verdict.verdict}")
    return found


def _rejects_by_line(outcome: Outcome) -> dict[str, list[object]]:
    lines = defaultdict(list)
    for reject in outcome.rejects:
        lines[reject.line_id].append((reject.event_id, str(reject.verdict), _reason(reject)))
    return lines


def _alerts(outcome: Outcome) -> list[object]:
    return sorted((alert.alert_id, alert.rule, alert.count, alert.window) for alert in outcome.alerts)


def _differing(expected: dict[str, list[object]], found: dict[str, list[object]]) -> list[str]:
    """What one has and the other has not, and what stands in another order."""
    differing = []
    for line in sorted(expected.keys() | found.keys()):
        wanted, got = Counter(expected.get(line, [])), Counter(found.get(line, []))
        differing += [f"missing: {each}" for each in (wanted - got).elements()]
        differing += [f"too many: {each}" for each in (got - wanted).elements()]
        if wanted == got and expected.get(line, []) != found.get(line, []):
            differing.append(f"the order on {line}")
    return differing
