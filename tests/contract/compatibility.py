"""Whether one version of a schema reads what another wrote, found out by writing and reading random records."""

import io
import random
from typing import Any

import fastavro
import fastavro.utils

RECORDS = 300  # every symbol of an enum and every branch of a union comes up with all but certainty
SEED = 20261124


def why_not_readable(*, reader: dict[str, Any], writer: dict[str, Any]) -> str | None:
    """The first reason why `reader` cannot read what `writer` wrote, or None where it reads everything."""
    writing = fastavro.parse_schema(writer, named_schemas={})
    reading = fastavro.parse_schema(reader, named_schemas={})
    random.seed(SEED)
    for record in fastavro.utils.generate_many(writing, RECORDS):
        data = io.BytesIO()
        fastavro.schemaless_writer(data, writing, record)
        data.seek(0)
        try:
            fastavro.schemaless_reader(data, writing, reading)
        except Exception as error:  # whatever fastavro raises is the answer
            return f"{type(error).__name__}: {error}"
    return None
