"""The command: choose verdicts, fetch their pictures, lay them into folders."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from services.cli.archive import CLOCKS_DIFFER, Archive, PictureGone, opened
from services.cli.collect.choice import Wanted, chosen, said
from services.cli.collect.folder import Collection
from services.cli.options import Json
from services.cli.progress import bars
from services.cli.times import parse_time
from services.extractor.errors import ImageUnavailable
from services.extractor.image_source import read_image
from services.extractor.settings import ExtractorSettings, ImageSettings
from shared.events import ChipInspected, ImageCaptured, Verdict
from shared.file_names import printable, readable
from shared.identity import EPOCH

messages = Console(stderr=True, highlight=False)
NAMED = 10  # pictures that could not be had, by name; the sum tells of all


def collect(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where to. What is there stays; nothing is fetched twice.")
    ],
    *,
    verdicts: Annotated[
        list[Verdict] | None,
        typer.Option(
            "--verdict", case_sensitive=False, help="Chips with this verdict, REJECT by default; may be repeated."
        ),
    ] = None,
    product: Annotated[str | None, typer.Option(help="Only those of one product.")] = None,
    line: Annotated[str | None, typer.Option(help="Only those of one line.")] = None,
    since: Annotated[
        str | None,
        typer.Option(
            help="Judged since: 15m, 2h, 3d ago, or a time in ISO 8601 (UTC without a zone); as long as pictures are "
            "kept by default."
        ),
    ] = None,
    until: Annotated[str | None, typer.Option(help="Judged before that; as for --since.")] = None,
    at_most: Annotated[
        int | None, typer.Option("--max", min=1, help="So many of them, drawn by lot, as for an audit of good ones.")
    ] = None,
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Also copies with what was found drawn in, below DIR/overlays.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Fetch the pictures of judged chips from Kafka: to look at rejects, to audit good ones, to train on.

    They come as the camera sent them, into DIR/PRODUCT/reject (pass, uninspected), and DIR/verdicts.csv tells of each
    its chip, score, threshold and bank. Of a chip that was judged again the last verdict counts. Move the good ones
    among the rejects into a folder of their own, and `chipsieve train --update BUNDLE --normal` learns them: they are
    not fetched again. Exit status 1 where a picture could not be had.
    """
    now = datetime.now(UTC)
    collection = Collection(folder)
    settings = ExtractorSettings()
    with opened(settings) as archive:
        kept = archive.topics.topic_of(ImageCaptured).retention_hours
        wanted = Wanted(
            verdicts=frozenset(verdicts or (Verdict.REJECT,)),
            since=parse_time(since, now, "--since") or (now - timedelta(hours=kept) if kept else EPOCH),
            until=parse_time(until, now, "--until"),
            product=product,
            line=line,
        )
        meant = chosen(said(archive, wanted.since - CLOCKS_DIFFER), wanted, at_most)
        new = [verdict for verdict in meant if not collection.has(verdict)]
        missing = _fetch(archive, new, collection, settings.images, overlay=overlay)
    _tell(collection, found=len(meant), new=len(new), missing=missing, as_json=as_json)
    if missing:
        raise typer.Exit(1)


def _fetch(
    archive: Archive, new: Sequence[ChipInspected], collection: Collection, images: ImageSettings, *, overlay: bool
) -> list[str]:
    """Collect the pictures; returns why some could not be had, a sentence each."""
    missing = []
    with bars(messages) as told:
        for done, (verdict, captured) in enumerate(archive.pictures(new), start=1):
            try:
                data = _data(captured, images)
            except (PictureGone, ImageUnavailable) as error:
                missing.append(f"chip {verdict.chip_id} of {verdict.line_id}: {error}")
            else:
                collection.add(verdict, data, overlay=overlay)
            told("pictures", done, len(new))
    return missing


def _data(captured: ImageCaptured | PictureGone, images: ImageSettings) -> bytes:
    if isinstance(captured, PictureGone):
        raise captured
    return read_image(captured, root=images.root, max_bytes=images.max_referenced_bytes)


def _tell(collection: Collection, *, found: int, new: int, missing: list[str], as_json: bool) -> None:
    for sentence in missing[:NAMED]:
        typer.echo(printable(sentence), err=True)
    if as_json:
        numbers = {
            "found": found,
            "collected": new - len(missing),
            "already_there": found - new,
            "missing": len(missing),
        }
        typer.echo(json.dumps({"folder": readable(str(collection.folder)), **numbers}))
        return
    typer.echo(
        f"{new - len(missing)} pictures collected in {readable(str(collection.folder))}, "
        f"{found - new} were there before, {len(missing)} could not be had"
    )
