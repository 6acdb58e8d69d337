"""The `chipsieve` command: every part of it, in one place."""

import io
import logging
import os
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from services.cli import bank, bench, dead_letters, topics
from services.cli.ablate import ablate
from services.cli.backbones import backbones
from services.cli.collect.command import collect
from services.cli.demo.command import demo
from services.cli.explain.command import explain
from services.cli.feed import feed
from services.cli.local_stack import cli as local
from services.cli.run import run
from services.cli.tail import tail
from services.cli.token import token
from services.cli.train import evaluate, train
from shared.errors import ChipsieveError
from shared.file_names import printable
from shared.logs import configure_logs
from shared.settings import LogSettings, ServiceSettings

# Markdown joins a paragraph's lines: as they stand in the source, a terminal of 80 columns breaks each once more.
app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="markdown")
app.add_typer(local.app, name="local")
app.add_typer(topics.app, name="topics")
app.command()(train)
app.command()(evaluate)
app.command()(ablate)
app.command()(backbones)
app.add_typer(bank.app, name="bank")
app.command()(run)
app.command()(feed)
app.command()(tail)
app.command()(collect)
app.command()(token)
app.command()(explain)
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(bench.app, name="bench")
app.command()(demo)


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"chipsieve {version('chipsieve')}")
        raise typer.Exit


@app.callback()
def chipsieve(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Streaming visual inspection: pictures in, verdicts out, through Kafka."""


def main() -> None:
    """Run the command; what Chipsieve or the system refuses ends it with one line on standard error and status 1."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # what the locale has no letters for is escaped, and ends no command
        sys.stdout.reconfigure(errors="backslashreplace")
    # Standard output belongs to the command's own answer; what libraries have to say goes to standard error.
    configure_logs(LogSettings(level="WARNING"))
    # Not what librdkafka has to say of each connection: a command tells by itself, once, that nobody answered.
    logging.getLogger("librdkafka").setLevel(logging.CRITICAL)
    for variable, meant in ServiceSettings.unknown(os.environ).items():
        typer.echo(f"chipsieve: {variable} sets nothing{f': is {meant} meant?' if meant else ''}", err=True)
    try:
        app()
    # The system's own names what may not be entered, or says that a disk is full.
    except (ChipsieveError, OSError) as error:
        message = "\n".join(map(printable, str(error).expandtabs().split("\n")))  # where it quotes a log
        typer.echo(f"chipsieve: {message}", err=True)
        sys.exit(1)
    except SystemExit as end:
        # Typer makes this of a Ctrl-C, and says nothing; a command that saw to it itself has said what it wanted to.
        if end.__context__ is not None and isinstance(end.__context__.__cause__, KeyboardInterrupt):
            typer.echo("chipsieve: stopped", err=True)
        raise
