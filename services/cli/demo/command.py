"""`chipsieve demo`: the whole line on rendered chips, with nothing to prepare."""

import json
import shlex
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from shared.errors import ChipsieveError

SET_UP_FAILED = 2  # exit status, apart from 1: chips without exactly one verdict


def demo(
    chips: Annotated[int, typer.Option(min=1, help="Chips that both lines send together.")] = 600,
    directory: Annotated[
        Path, typer.Option("--dir", help="Where pictures, bundles, logs and the sheet of rejects are kept.")
    ] = Path("out/demo"),
    observe: Annotated[bool, typer.Option("--observe", help="Start a Prometheus that watches the line.")] = False,
) -> None:
    """Render chips, learn two products, start the whole line and inspect two lines, live.

    One line posts its pictures to the gateway, the other writes them to Kafka. The last line on standard output is the
    account as JSON. Exit status 1 if a chip has not exactly one verdict, 2 if something could not be started.
    """
    from services.cli.demo.run import run_demo  # noqa: PLC0415 - the other commands need no arithmetic

    console = Console(stderr=True, highlight=False)
    # SIGTERM ends the demo as Ctrl-C does: nothing that it started is left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        result = run_demo(chips, directory.resolve(), console, observe=observe)
    except ChipsieveError as error:
        console.print(f"chipsieve demo: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(SET_UP_FAILED) from error
    except KeyboardInterrupt:
        console.print("stopped; everything the demo started has ended")
        raise typer.Exit(130) from None
    figures = result.tally
    console.print(
        f"{figures.sent} chips, {figures.verdicts} verdicts: {figures.rejected} rejected, "
        f"{figures.escapes} defective ones passed, {figures.false_rejects} good ones rejected",
        soft_wrap=True,
    )
    console.print(f"rejects with what was found drawn in: {result.sheet}", soft_wrap=True)
    console.print("to judge a bank by pictures it has not seen, with the truth beside them:")
    console.print(f"  {evaluation(directory)}", soft_wrap=True)
    typer.echo(json.dumps(asdict(figures)))
    if not figures.is_exact:
        raise typer.Exit(1)


def evaluation(directory: Path) -> str:
    """The command that evaluates the first product's bank on the test set that the demo left behind."""
    test = directory / "pictures/soic-8/test"
    folders = {
        "--bundle": directory / "bundles/soic-8",
        "--normal": test / "normal",
        "--abnormal": test / "abnormal",
        "--masks": test / "masks",
    }
    options = " ".join(f"{option} {shlex.quote(str(folder))}" for option, folder in folders.items())
    called = Path(sys.argv[0])  # .venv/bin/chipsieve by `make demo`, whose shell need not know the environment
    return f"{shlex.quote(str(called)) if called.name == 'chipsieve' else 'chipsieve'} evaluate {options}"
