"""`chipsieve tail`: what flows through a topic, decoded, one line a record."""

import json
import os
import sys
import time
from enum import StrEnum
from typing import Annotated, Any

import typer
from confluent_kafka import Consumer, KafkaError, Message

from services.cli.event_json import plain, plain_bytes
from services.cli.reading import read
from shared.events import AlertRaised, ChipInspected, ChipRejected, DeadLetter, Event, ImageCaptured
from shared.file_names import printable
from shared.kafka import reader_config
from shared.settings import Settings
from shared.stream.record import Received
from shared.topics import Topic, load_topics
from shared.wire.codec import Codec
from shared.wire.errors import MalformedRecord
from shared.wire.registry import SchemaRegistry

Document = dict[str, Any]
SAY_AGAIN_S = 60.0


class What(StrEnum):
    """The topics that people look at, as `topics.yaml` names them."""

    IMAGES = "images"
    INSPECTIONS = "inspections"
    REJECTS = "rejects"
    ALERTS = "alerts"
    DEAD_LETTERS = "dead-letters"


def tail(
    what: Annotated[What, typer.Argument(help="Which topic.")],
    *,
    from_beginning: Annotated[bool, typer.Option("--from-beginning", help="From the oldest record kept.")] = False,
    max_records: Annotated[int | None, typer.Option("--max", min=1, help="End after so many records.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document a line, with every field.")] = False,
    timeout: Annotated[float | None, typer.Option(min=0, help="End after so many seconds.")] = None,
) -> None:
    """Show the records of a topic as they come, until --max, --timeout or Ctrl-C."""
    settings = Settings()
    topics = load_topics(prefix=settings.topic_prefix)
    topic = topics.by_name[what]
    codec = Codec(SchemaRegistry(settings.registry), topics)
    consumer = Consumer({**reader_config(settings.kafka, topics), "error_cb": _Outage()})
    shown = 0
    try:
        for message in read(
            consumer, settings.kafka, topic, from_beginning=from_beginning, follow=True, timeout_s=timeout
        ):
            document = describe(message, topic, codec)
            print(json.dumps(document) if as_json else sentence(document), flush=True)
            shown += 1
            if shown == max_records:
                break
    except KeyboardInterrupt:
        pass  # the way to end it
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # `| head` has enough; Python flushes at exit
    finally:
        consumer.close()


class _Outage:
    """Says once a minute, and not at each attempt, that no broker is there any more; the wait goes on.

    Nothing in the first minute: where nobody answers from the start, the command ends and says so.
    """

    def __init__(self) -> None:
        self._told = time.monotonic()

    def __call__(self, error: KafkaError) -> None:
        now = time.monotonic()
        if error.code() == KafkaError._ALL_BROKERS_DOWN and now - self._told >= SAY_AGAIN_S:
            self._told = now
            typer.echo("chipsieve: no broker answers any more; waiting for one", err=True)


def describe(message: Message, topic: Topic, codec: Codec) -> Document:
    """A record as one JSON document: where it lies, and its event, or why there is none in it.

    Raises `RegistryUnavailable`.
    """
    received = Received.from_message(message)
    timestamp = received.timestamp
    place = {"topic": message.topic(), "partition": message.partition(), "offset": message.offset()}
    value = message.value()
    try:
        event = codec.decode(value, topic.event)
    except MalformedRecord as error:
        return {
            "event": None,
            **place,
            "timestamp": plain(timestamp),
            **plain(received.identity),
            "error": type(error).__name__,
            "detail": str(error),
            "value": plain_bytes(value) if value is not None else None,
        }
    return {"event": event.SCHEMA, **place, "timestamp": plain(timestamp), **plain(event), **_reason(event)}


def _reason(event: Event) -> Document:
    """Why a chip is uninspected, beside the verdict where one looks for it."""
    if not isinstance(event, ChipInspected | ChipRejected):
        return {}
    return {"reason": event.uninspected.reason if event.uninspected else None}


def sentence(document: Document) -> str:
    """A document in one line for people."""
    where = f"{document['timestamp'][:23]}Z {document['partition']}:{document['offset']:<6}"
    who = f"{document['line_id']:<12}"
    chip = f"{document.get('chip_id') or '-':<18} {document.get('product') or '-':<12}"
    match document["event"]:
        case None:
            what = f"{chip} NOT DECODABLE: {document['detail']}"
        case ImageCaptured.SCHEMA:
            size = document["image_bytes"] and f"{document['image_bytes']['bytes']} bytes"
            what = f"{chip} {size or document['image_uri']}"
        case ChipInspected.SCHEMA | ChipRejected.SCHEMA:
            what = f"{chip} {document['verdict']:<11} {_why(document)}"
        case AlertRaised.SCHEMA:
            what = f"{document['kind']} ({document['rule']}): {document['message']}"
        case DeadLetter.SCHEMA:
            what = f"{chip} {document['dead_letter_id']} {document['reason']}: {document['detail']}"
        case name:
            what = f"{chip} {name}"
    return printable(f"{where} {who} {what}")


def _why(document: Document) -> str:
    if uninspected := document["uninspected"]:
        return f"{uninspected['reason']}: {uninspected['detail']}"
    score, threshold = _number(document["score"]), _number(document["threshold"])
    kind = f"{document['defect_kind']}, " if document["defect_kind"] else ""
    return f"{kind}score {score}, threshold {threshold}, bank {document['bank_version']}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
