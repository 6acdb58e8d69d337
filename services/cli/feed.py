"""`chipsieve feed DIR`: send a folder's pictures down a line."""

import json
import math
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Self

import typer

from services.cli.options import Json
from services.gateway.capture import MAX_DEADLINE_MS, check_id
from services.gateway.feed import DELIVERY_TIMEOUT_MS, LINGER_MS, Fed, FeedOrder
from services.gateway.feed import feed as send
from services.gateway.folder import look_into
from services.gateway.producer import ImageProducer
from shared.errors import ConfigurationError
from shared.file_names import printable, readable
from shared.settings import Settings

PROGRESS_EVERY_S = 0.2  # as often as an eye follows
NAMED = 10  # refused pictures that are named on the terminal; JSON has all


def feed(  # noqa: PLR0917 - typer passes them by name
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of pictures, walked recursively.")],
    line: Annotated[str, typer.Option(help="Line the pictures come from.")],
    product: Annotated[str, typer.Option(help="Product they show.")],
    rate: Annotated[
        float | None, typer.Option(help="Pictures a second; as fast as Kafka takes them by default.")
    ] = None,
    repeat: Annotated[int, typer.Option(min=1, help="How many times the folder is sent.")] = 1,
    deadline_ms: Annotated[
        int | None, typer.Option(min=1, max=MAX_DEADLINE_MS, help="Verdicts are due this long after sending.")
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(help="Name of this feed. Given again after a crash, chips that were sent get no second verdict."),
    ] = None,
    by_reference: Annotated[
        Path | None,
        typer.Option(
            metavar="ROOT", help="Send references to the files; DIR lies below ROOT, the extractor's image root."
        ),
    ] = None,
    all_files: Annotated[bool, typer.Option(help="Send files without a picture's suffix too.")] = False,
    as_json: Json = False,
) -> None:
    """Send every picture below DIR as it is, and return when Kafka has acknowledged them.

    A chip's id is its picture's path below DIR, from the second time on with #2, #3, … Nothing is judged here: a file
    that is no picture gets its verdict, UNINSPECTED, like any other. Exit status 1 where a picture could not be sent,
    or where broker or registry do not answer when it begins; a broker that goes away later is waited for.
    """
    if rate is not None and not 0 < rate < math.inf:
        raise ConfigurationError(f"--rate is {rate}: give pictures a second above 0, or leave it out")
    for option, value in (("--line", line), ("--product", product)):
        check_id(option, value)
    if by_reference is not None and not by_reference.is_dir():
        raise ConfigurationError(
            f"--by-reference is {by_reference}, which is no folder: give the extractor's image root"
        )
    found = look_into(folder)
    pictures = tuple(sorted(found.pictures + found.others)) if all_files else found.pictures
    if not pictures:
        why = ", and links to folders are not followed" if found.links else ""
        raise ConfigurationError(f"{folder} has no picture in it{why}: give another folder, or --all-files")
    skipped = 0 if all_files else len(found.others)
    if skipped:
        typer.echo(f"{skipped} files without a picture's suffix are left out (--all-files sends them)", err=True)
    if found.links:
        first = printable(readable(found.links[0].relative_to(folder).as_posix()))
        typer.echo(
            f"{len(found.links)} links to folders are left out, for instance {first}: feed what they lead to", err=True
        )
    order = FeedOrder(
        folder=folder,
        pictures=pictures,
        line_id=line,
        product=product,
        repeat=repeat,
        rate=rate,
        deadline_ms=deadline_ms,
        run=run,
        reference_root=by_reference,
    )
    total = len(pictures) * repeat
    with ImageProducer(Settings(), delivery_timeout_ms=DELIVERY_TIMEOUT_MS, linger_ms=LINGER_MS) as producer:
        producer.ask()  # else every picture would be tried for two minutes before it is told that nobody answers
        with _Progress(total) as progress:
            fed = send(order, producer, progress)
    _tell(order, fed, total, skipped, as_json=as_json)
    if fed.stopped:
        raise KeyboardInterrupt
    if fed.refused:
        raise typer.Exit(1)


class _Progress:
    """Counts on one line of a terminal's standard error; says nothing where that is a file."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._shown = 0.0

    def __call__(self, sent: int) -> None:
        now = time.monotonic()
        if sys.stderr.isatty() and (now - self._shown >= PROGRESS_EVERY_S or sent == self._total):
            self._shown = now
            typer.echo(f"\r{sent} of {self._total} sent", err=True, nl=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            typer.echo(err=True)


def _tell(order: FeedOrder, fed: Fed, total: int, skipped: int, *, as_json: bool) -> None:
    if as_json:
        document = {
            "line": order.line_id,
            "product": order.product,
            "sent": fed.sent,
            "seconds": round(fed.seconds, 3),
            "skipped": skipped,
            "stopped": fed.stopped,
            "refused": [asdict(refused) for refused in fed.refused],
        }
        typer.echo(json.dumps(document))
    else:
        rate = f", {fed.sent / fed.seconds:.1f} a second" if fed.seconds > 0 else ""
        sent = f"{fed.sent} of {total}" if fed.stopped else fed.sent
        typer.echo(f"{sent} pictures sent to line {order.line_id} in {fed.seconds:.1f} s{rate}")
    for refused in fed.refused[:NAMED]:
        typer.echo(f"not sent: {printable(refused.chip_id)}: {printable(refused.detail)}", err=True)
    if len(fed.refused) > NAMED:
        typer.echo(f"… and {len(fed.refused) - NAMED} more", err=True)
