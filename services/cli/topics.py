"""`chipsieve topics`: topics and schemas from `schemas/`."""

import json

import typer

from services.cli.options import Json
from shared.kafka import create_topics
from shared.settings import Settings
from shared.topics import load_topics
from shared.wire.registry import SchemaRegistry

app = typer.Typer(help="Topics and schemas, as schemas/ declares them.", no_args_is_help=True)


@app.callback()
def _topics() -> None:
    """A group even while it has one command."""


@app.command()
def create(
    *,
    as_json: Json = False,
) -> None:
    """Create the topics and register their schemas; what is there already is checked and left alone."""
    settings = Settings()
    topics = load_topics(prefix=settings.topic_prefix)
    # Schemas first: a topic without its schema would let nobody write, but look ready.
    schema_ids = SchemaRegistry(settings.registry).register_all(topics)
    done = create_topics(settings.kafka, topics)
    rows = [
        {
            "topic": topic.name,
            "created": topic.name in done.created,
            "partitions": topic.partitions,
            "retention_hours": topic.retention_hours,
            "max_message_bytes": topic.max_message_bytes,
            "subject": topic.subject,
            "schema_id": schema_ids[topic.subject],
            "compatibility": topic.compatibility,
        }
        for topic in topics.by_name.values()
    ]
    if as_json:
        typer.echo(json.dumps({"topics": rows, "warnings": done.warnings}))
        return
    for warning in done.warnings:
        typer.echo(f"Warning: {warning}", err=True)
    for row in rows:
        kept = "compacted" if row["retention_hours"] is None else f"{row['retention_hours']} h"
        typer.echo(
            f"{row['topic']:<14} {'created' if row['created'] else 'there   '}  {row['partitions']} partitions, "
            f"{kept}, schema {row['schema_id']} {row['compatibility']}"
        )
