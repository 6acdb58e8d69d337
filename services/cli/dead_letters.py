"""`chipsieve dead-letters`: what could not be processed, and sending it back once the cause is repaired."""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated

import typer
from confluent_kafka import Consumer, KafkaException, Producer

from services.cli.event_json import plain
from services.cli.options import Json
from services.cli.reading import bounds, partitions_of, read
from services.cli.replay import BATCH, Ledger, Letter, replayable, send_back, without_deadline
from services.cli.times import parse_time
from services.cli.verdicts import Chip, judged
from shared.events import DeadLetter, UninspectedReason
from shared.file_names import printable
from shared.kafka import ADMIN_TIMEOUT_S, reader_config, transactional_producer_config, unavailable
from shared.settings import Settings
from shared.topics import Topic, Topics, load_topics
from shared.wire.codec import Codec
from shared.wire.errors import MalformedRecord
from shared.wire.registry import SchemaRegistry

app = typer.Typer(help="Records that a stage could not process: look at them, send them back.", no_args_is_help=True)

Stage = Annotated[str | None, typer.Option(help="Only those of one stage: extractor, matcher, router.")]
Cause = Annotated[UninspectedReason | None, typer.Option(help="Only those of one cause.", case_sensitive=False)]
Line = Annotated[str | None, typer.Option(help="Only those of one line.")]
Since = Annotated[
    str | None, typer.Option(help="Only those since: 15m, 2h, 3d ago, or a time in ISO 8601 (UTC without a zone).")
]
Until = Annotated[str | None, typer.Option(help="Only those before that; as for --since.")]
Ids = Annotated[list[str] | None, typer.Option("--id", help="Only this one, as `list` shows it; may be repeated.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which dead letters are meant."""

    stage: str | None = None
    cause: UninspectedReason | None = None
    line: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    ids: frozenset[str] = frozenset()

    def takes(self, letter: DeadLetter) -> bool:
        """Whether a dead letter is meant."""
        return (
            self.stage in (None, letter.stage)
            and self.cause in (None, letter.reason)
            and self.line in (None, letter.line_id)
            and (self.since is None or letter.failed_at >= self.since)
            and (self.until is None or letter.failed_at < self.until)
            and (not self.ids or letter.dead_letter_id in self.ids)
        )


@dataclass(slots=True)
class Mailbox:
    """The dead letters' topic, open for reading."""

    settings: Settings
    topics: Topics
    topic: Topic
    codec: Codec
    consumer: Consumer
    partitions: list[int]
    ledger: Ledger
    producer: Producer | None
    """Sends dead letters back, where that was asked for."""
    malformed: int = 0
    """Records of the topic that were no dead letters."""

    def letters(self, selection: Selection) -> Iterator[Letter]:
        """Every dead letter there is now that is meant, each partition in order."""
        for message in read(self.consumer, self.settings.kafka, self.topic, from_beginning=True, follow=False):
            try:
                letter = self.codec.decode(message.value(), DeadLetter)
            except MalformedRecord:
                self.malformed += 1
                continue
            if selection.takes(letter):
                yield Letter(letter, message.partition(), message.offset())

    def judged_meanwhile(self, selection: Selection) -> set[Chip]:
        """The chips of the dead letters meant that have been passed or rejected since."""
        failed_at = {Chip.of(found.letter): found.letter.failed_at for found in self.letters(selection)}
        if not failed_at:
            return set()
        return judged(failed_at, min(failed_at.values()), self.settings, self.topics, self.codec)

    def kept_from(self) -> dict[int, int]:
        """The oldest offset of each partition."""
        kafka = self.settings.kafka
        return {partition: bounds(self.consumer, kafka, self.topic.name, partition)[0] for partition in self.partitions}


@contextmanager
def opened(*, to_send: bool = False) -> Iterator[Mailbox]:
    """The dead letters of the line that the environment points to.

    Args:
        to_send: they may be sent back. Another replay that runs is fenced: this one goes on in its place.
    """
    settings = Settings()
    topics = load_topics(prefix=settings.topic_prefix)
    topic = topics.topic_of(DeadLetter)
    codec = Codec(SchemaRegistry(settings.registry), topics)
    consumer = Consumer(reader_config(settings.kafka, topics, group=replay_group(settings)))
    try:
        partitions = partitions_of(consumer, settings.kafka, topic)
        # Before the ledger is read: another replay could go on sending after that what this one takes for unsent.
        producer = _transactional_producer(settings, topics) if to_send else None
        ledger = Ledger.read(consumer, settings.kafka, topic, partitions)
        yield Mailbox(settings, topics, topic, codec, consumer, partitions, ledger, producer)
    finally:
        consumer.close()


def _transactional_producer(settings: Settings, topics: Topics) -> Producer:
    config = transactional_producer_config(settings.kafka, topics, replay_group(settings))
    producer = Producer(config, logger=logging.getLogger("librdkafka"))
    try:
        producer.init_transactions(ADMIN_TIMEOUT_S)
    except KafkaException as error:
        raise unavailable(settings.kafka, error) from error
    return producer


def replay_group(settings: Settings) -> str:
    """The consumer group whose offsets hold the ledger, and the transactional id: one replay at a time."""
    return f"{settings.topic_prefix}chipsieve-dead-letters-replay"


def select(
    *,
    stage: str | None,
    cause: UninspectedReason | None,
    line: str | None,
    since: str | None,
    until: str | None,
    ids: list[str] | None,
) -> Selection:
    """The selection that the options of a command make."""
    now = datetime.now(UTC)
    return Selection(
        stage=stage,
        cause=cause,
        line=line,
        since=parse_time(since, now, "--since"),
        until=parse_time(until, now, "--until"),
        ids=frozenset(ids or ()),
    )


@app.command("list")
def list_(
    *,
    stage: Stage = None,
    cause: Cause = None,
    line: Line = None,
    since: Since = None,
    until: Until = None,
    ids: Ids = None,
    as_json: Json = False,
) -> None:
    """List the dead letters, oldest first within a partition."""
    selection = select(stage=stage, cause=cause, line=line, since=since, until=until, ids=ids)
    shown, found_any = [], False
    with opened() as mailbox:
        for found in mailbox.letters(selection):
            letter, replayed, found_any = found.letter, mailbox.ledger.has(found), True
            if as_json:
                shown.append({**plain(letter), "replayed": replayed})
                continue
            sentence = (
                f"{letter.failed_at:%Y-%m-%d %H:%M:%SZ} {letter.dead_letter_id} {letter.line_id} {letter.chip_id} "
                f"{letter.reason} {letter.error}: {letter.detail}{' (replayed)' if replayed else ''}"
            )
            typer.echo(printable(sentence))
    if as_json:
        typer.echo(json.dumps({"dead_letters": shown, "malformed": mailbox.malformed}))
        return
    if not found_any:
        typer.echo("no dead letters" if selection == Selection() else "no dead letters of these", err=True)
    if mailbox.malformed:
        typer.echo(f"{mailbox.malformed} records of {mailbox.topic.name} are no dead letters", err=True)


@app.command()
def replay(
    *,
    stage: Stage = None,
    cause: Cause = None,
    line: Line = None,
    since: Since = None,
    until: Until = None,
    ids: Ids = None,
    without_deadlines: Annotated[
        bool, typer.Option("--without-deadlines", help="Judge chips whose deadline is over; else they are shed again.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Also those that were sent back before.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent back, and send nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Send dead letters back to their topics, with their bytes, key and headers, each once.

    Repair the cause first. A chip sent back gets one more verdict, after its UNINSPECTED one; a chip that has been
    passed or rejected meanwhile is not judged again. Another replay that still runs ends, and this one goes on.
    """
    selection = select(stage=stage, cause=cause, line=line, since=since, until=until, ids=ids)
    done = {"replayed": 0, "already_replayed": 0, "already_judged": 0, "skipped": 0}
    with opened(to_send=not dry_run) as mailbox:
        waiting = _waiting(mailbox, selection, done, again=again)
        send = _sender(mailbox, mailbox.producer, without_deadlines=without_deadlines) if mailbox.producer else None
        while batch := list(islice(waiting, BATCH)):
            if send:
                send(batch)
            done["replayed"] += len(batch)
    if as_json:
        typer.echo(json.dumps({**done, "dry_run": dry_run}))
    else:
        typer.echo(
            f"{done['replayed']} {'would be ' if dry_run else ''}sent back, "
            f"{done['already_replayed']} were before, {done['already_judged']} have their verdict, "
            f"{done['skipped']} cannot be"
        )


def _waiting(mailbox: Mailbox, selection: Selection, done: dict[str, int], *, again: bool) -> Iterator[Letter]:
    """The dead letters to send back; counts the others."""
    judged_meanwhile = mailbox.judged_meanwhile(selection)
    for found in mailbox.letters(selection):
        if not again and mailbox.ledger.has(found):
            done["already_replayed"] += 1
        elif why := replayable(found.letter, mailbox.topics):
            done["skipped"] += 1
            typer.echo(f"{found.letter.dead_letter_id} cannot be sent back: {why}", err=True)
        elif Chip.of(found.letter) in judged_meanwhile:
            done["already_judged"] += 1
        else:
            yield found


def _sender(mailbox: Mailbox, producer: Producer, *, without_deadlines: bool) -> Callable[[list[Letter]], None]:
    """A function that sends a batch back in one transaction."""
    kept_from = mailbox.kept_from()

    def send(batch: list[Letter]) -> None:
        if without_deadlines:
            batch = [
                replace(found, letter=without_deadline(found.letter, mailbox.topics, mailbox.codec)) for found in batch
            ]
        send_back(
            batch,
            mailbox.ledger,
            topic=mailbox.topic,
            kept_from=kept_from,
            consumer=mailbox.consumer,
            producer=producer,
            settings=mailbox.settings.kafka,
        )

    return send
