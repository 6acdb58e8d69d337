"""`chipsieve token`: a token with which a camera sends pictures of its lines to the gateway."""

import hashlib
import json
import secrets
from typing import Annotated

import typer


def token(
    lines: Annotated[list[str], typer.Argument(help="Lines that it is good for; '*' for all of them.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Draw a token: the camera keeps it, the gateway's file of tokens gets its hash."""
    drawn = secrets.token_urlsafe(32)
    record = f"{hashlib.sha256(drawn.encode()).hexdigest()} {' '.join(lines)}"
    if as_json:
        typer.echo(json.dumps({"token": drawn, "record": record}))
        return
    typer.echo(f"for the camera, shown this once:       {drawn}")
    typer.echo(f"for CHIPSIEVE_GATEWAY__TOKENS_FILE:    {record}")
