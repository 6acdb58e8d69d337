"""`chipsieve backbones`: which networks can describe patches, and where each may be tapped."""

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from services.cli.options import Json
from shared.vision.backbone_weights import EFFICIENTNET_LITE0
from shared.vision.errors import BadCheckpoint
from shared.vision.keras_applications import APPLICATIONS, PREFIX, RANDOM, cached_weights, is_application, is_random
from shared.vision.recipe import LINE_CELL, LINE_TAPS


def backbones(
    name: Annotated[
        str | None,
        typer.Argument(help="efficientnet-lite0, keras:NAME, a .keras file or a SavedModel's folder; none lists all."),
    ] = None,
    *,
    size: Annotated[int, typer.Option(min=32, help="Side of the pictures, pixels, for the taps' grids.")] = 256,
    as_json: Json = False,
) -> None:
    """List the backbones that a recipe may name or, of one, its taps and their grids."""
    found: dict[str, Any] = _all() if name is None else _one(name, size)
    if as_json:
        typer.echo(json.dumps(found))
        return
    console = Console(highlight=False)
    if name is None:
        table = Table("backbone", "weights")
        for each in found["backbones"]:
            table.add_row(escape(each["name"]), escape(each["weights"]))
        console.print(table)
        console.print("or the path of a .keras file or of a SavedModel's folder that takes RGB pixels from 0 to 255")
        return
    table = Table("tap", "grid", "channels", title=f"{escape(name)} at {size} px")
    for tap in found["taps"]:
        table.add_row(escape(tap["name"]), f"{tap['height']} x {tap['width']}", str(tap["channels"]))
    console.print(table)
    if found["weights_sha256"] is None:
        Console(stderr=True, highlight=False).print(
            f"[yellow]warning:[/yellow] {escape(found['warning'])}", soft_wrap=True
        )


def _all() -> dict[str, Any]:
    known = [{"name": EFFICIENTNET_LITE0, "weights": "ImageNet, installed"}]
    for application in APPLICATIONS.values():
        weights = "ImageNet, in Keras's cache" if cached_weights(application) else f"none here: {RANDOM} only"
        known.append({"name": PREFIX + application.name, "weights": weights})
    return {"backbones": known}


def _line_grids(size: int) -> list[tuple[str, tuple[int, int, int]]]:
    """Of the taps that look at pixels, whichever the backbone is."""
    return [(tap, (size // LINE_CELL, size // LINE_CELL, 1)) for tap in LINE_TAPS]


def _one(name: str, size: int) -> dict[str, Any]:
    from shared.vision.backbone import load_backbone  # noqa: PLC0415 - imports TensorFlow

    warning = None
    try:
        backbone = load_backbone(name)
    except BadCheckpoint as missing:
        if not is_application(name) or is_random(name):
            raise
        warning = str(missing)
        backbone = load_backbone(name + RANDOM)  # its taps are the same
    return {
        "backbone": name,
        "weights_sha256": None if warning else backbone.weights_sha256,
        "warning": warning,
        "taps": [
            {"name": tap, "height": height, "width": width, "channels": channels}
            for tap, (height, width, channels) in [*backbone.grids(size).items(), *_line_grids(size)]
        ],
    }
