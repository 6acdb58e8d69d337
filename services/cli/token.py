"""`chipsieve token`: a token with which a camera sends pictures of its lines to the gateway."""

import json
import secrets
from typing import Annotated

import typer

from services.cli.options import Json
from services.gateway.tokens import token_record


def token(
    lines: Annotated[list[str], typer.Argument(help="Lines that it is good for; '*' for all of them.")],
    *,
    as_json: Json = False,
) -> None:
    """Draw a token: the camera keeps it, the gateway's file of tokens gets its hash.

    A line whose name a blank would cut in two is quoted in that file.
    """
    drawn = secrets.token_urlsafe(32)
    record = token_record(drawn, lines)
    if as_json:
        typer.echo(json.dumps({"token": drawn, "record": record}))
        return
    typer.echo(f"for the camera, shown this once:       {drawn}")
    typer.echo(f"for CHIPSIEVE_GATEWAY__TOKENS_FILE:    {record}")
