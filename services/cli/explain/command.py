"""The command: find, make again, compare, tell."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import cv2
import typer
from threadpoolctl import threadpool_limits

from services.cli.archive import Archive, Found, PictureGone, opened
from services.cli.demo.contact_sheet import mark
from services.cli.explain.agreement import compare, same_features
from services.cli.explain.errors import Unexplainable
from services.cli.explain.recomputation import from_file, judge, recompute, recompute_uninspected
from services.cli.explain.telling import Explanation
from services.cli.options import Json
from services.cli.times import parse_time
from services.extractor.settings import ExtractorSettings
from services.matcher.settings import MatcherSettings
from shared.bank.bundle import Bundle
from shared.bank.bundle_folder import read_bundle
from shared.bank.errors import UnknownVersion
from shared.bank.store import BankStore
from shared.errors import ChipsieveError, ConfigurationError
from shared.events import ChipInspected, ImageCaptured, Verdict
from shared.file_names import printable
from shared.vision.picture import Picture

DIFFERS, UNTOLD = 1, 2


def explain(
    event_id: Annotated[str, typer.Argument(help="Event of the picture, as verdicts, rejects and headers carry it.")],
    *,
    chip: Annotated[str | None, typer.Option(help="The chip's id, where an event id was used for several.")] = None,
    since: Annotated[
        str | None,
        typer.Option(
            help="Look through verdicts since: 15m, 2h, 3d ago, or a time in ISO 8601 (UTC without a zone); else all."
        ),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The picture, where Kafka does not keep it any more.")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The bundle, where Redis does not have that version any more.")
    ] = None,
    overlay: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the picture with what was found drawn in (.png, .jpg).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say why a chip was judged as it was, and whether the same verdict comes out again.

    Finds the verdict and the picture in Kafka and the bank that the verdict names in Redis, extracts the features and
    judges them anew with the engine that the verdict names, and compares every field to the last bit. Exit status 0
    where the verdict comes out again, 1 where it differs, 2 where that cannot be told.
    """
    try:
        explanation = _explanation(
            event_id, chip=chip, since=parse_time(since, datetime.now(UTC), "--since"), picture=picture, bundle=bundle
        )
        if as_json:
            typer.echo(json.dumps(explanation.document()))
        else:
            typer.echo("\n".join(map(printable, explanation.sentences())))
        if overlay:
            _draw(explanation, overlay)
    except ChipsieveError as error:  # 1 is taken
        typer.echo(f"chipsieve: {printable(str(error))}", err=True)
        raise typer.Exit(UNTOLD) from error
    if not explanation.agrees:
        raise typer.Exit(DIFFERS)


def _explanation(
    event_id: str, *, chip: str | None, since: datetime | None, picture: Path | None, bundle: Path | None
) -> Explanation:
    settings = ExtractorSettings()
    # As many threads as the matcher takes: what a learnt layer says may depend on them in the last digit.
    with threadpool_limits(MatcherSettings().matching.threads), opened(settings) as archive:
        found = archive.verdict(event_id, chip=chip, since=since)
        captured = _captured(archive, found.verdict, picture)
        if found.verdict.verdict is Verdict.UNINSPECTED:
            return _of_the_uninspected(found, captured, settings)
        return _of_the_judged(archive, found, captured, _bundle(found.verdict, bundle, settings), settings)


def _of_the_judged(
    archive: Archive, found: Found, captured: ImageCaptured, bundle: Bundle, settings: ExtractorSettings
) -> Explanation:
    said = found.verdict
    recomputed = recompute(said, captured, bundle, settings)
    travelled = archive.features(said)
    differ = same_features(travelled, recomputed.features) if travelled and recomputed.features else None
    follows = None
    if travelled and differ:
        follows = all(each.same for each in compare(said, judge(travelled, bundle.bank)))
    return Explanation(
        found=found,
        manifest=bundle.manifest,
        recomputed=recomputed,
        compared=tuple(compare(said, recomputed.verdict)),
        travelled=travelled is not None,
        features_differ=differ,
        follows_from_travelled=follows,
    )


def _of_the_uninspected(found: Found, captured: ImageCaptured, settings: ExtractorSettings) -> Explanation:
    recomputed = recompute_uninspected(found.verdict, captured, settings)
    compared = compare(found.verdict, recomputed.verdict)
    return Explanation(found=found, manifest=None, recomputed=recomputed, compared=tuple(compared), travelled=False)


def _captured(archive: Archive, said: ChipInspected, picture: Path | None) -> ImageCaptured:
    if picture is not None:
        return from_file(said, picture)
    try:
        return archive.captured(said)
    except PictureGone as error:
        raise PictureGone(f"{error}; give the picture with --picture") from error


def _bundle(said: ChipInspected, directory: Path | None, settings: ExtractorSettings) -> Bundle:
    version = said.bank_version or ""
    if directory is None:
        store = BankStore(settings.redis)
        try:
            return store.bundle(said.product, version)
        except UnknownVersion as error:
            raise Unexplainable(f"{error}; where its folder was kept, give that with --bundle") from error
        finally:
            store.close()
    bundle = read_bundle(directory)
    if (bundle.manifest.product, bundle.manifest.version) != (said.product, version):
        raise Unexplainable(
            f"{directory} is {bundle.manifest.product} {bundle.manifest.version}, the chip was judged by "
            f"{said.product} {version}: give that bundle"
        )
    return bundle


def _draw(explanation: Explanation, path: Path) -> None:
    picture: Picture | None = explanation.recomputed.picture
    if picture is None:
        cause = explanation.recomputed.verdict.uninspected
        why = f": {printable(cause.detail)}" if cause else ""
        typer.echo(f"chipsieve: no overlay, for want of a picture{why}", err=True)
        return
    marked = mark(picture, explanation.found.verdict)
    try:
        written = cv2.imwrite(str(path), cv2.cvtColor(marked, cv2.COLOR_RGB2BGR))
    except cv2.error as error:
        raise ConfigurationError(f"--overlay {path}: {error.err}; name a .png or .jpg") from error
    if not written:
        raise ConfigurationError(f"--overlay {path} cannot be written: name a file in a folder that can be")
