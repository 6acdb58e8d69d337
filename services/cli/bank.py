"""`chipsieve bank`: publish memory banks, see what is published, choose what judges, remove what is past."""

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from services.cli.options import Json
from shared.bank.bundle_folder import read_bundle
from shared.bank.errors import CorruptBundle, UnknownProduct, UnknownVersion
from shared.bank.store import BankStore
from shared.settings import Settings

PIPE_WIDTH = 200

app = typer.Typer(help="Memory banks in Redis: publish, inspect, activate, roll back, remove.", no_args_is_help=True)

Product = Annotated[str, typer.Argument(help="Name of the product.")]


@app.command()
def publish(
    bundle: Annotated[Path, typer.Argument(help="Folder that `chipsieve train --out` wrote.")],
    *,
    activate: Annotated[bool, typer.Option(help="Let it judge from now on.")] = True,
    as_json: Json = False,
) -> None:
    """Verify a bundle, store it, and let it judge; the same version twice changes nothing."""
    read = read_bundle(bundle)
    product, version = read.manifest.product, read.manifest.version
    with _store() as store:
        done = store.publish(read, activate=activate)
        active = store.all_active().get(product)
    state = "active" if active == version else f"not active: {active or 'no version'} is"
    _report(
        {"product": product, "version": version, "stored": done.stored, "activated": done.activated, "active": active},
        f"{product} {version} {'stored' if done.stored else 'was stored already'}, {state}",
        as_json=as_json,
    )


@app.command("list")
def list_products(*, as_json: Json = False) -> None:
    """All products: which version is active, and how many there are."""
    with _store() as store:
        active = store.all_active()
        rows = [_product_row(store, product, active.get(product)) for product in store.products()]
    if as_json:
        typer.echo(json.dumps({"products": rows}))
        return
    if not rows:
        typer.echo("no bank is published; `chipsieve train`, then `chipsieve bank publish`")
        return
    table = Table(
        Column("product", overflow="fold"),
        _whole("active version"),
        "versions",
        _whole("feature space"),
        _whole("threshold", 9),
    )
    for row in rows:
        table.add_row(
            escape(row["product"]),
            row["active"] or "-",
            str(row["versions"]),
            row["feature_space"] or "-",
            "-" if row["threshold"] is None else f"{row['threshold']:.4f}",
        )
    _print(table)
    _tell_damage(rows)


@app.command()
def show(
    product: Product,
    version: Annotated[str | None, typer.Argument(help="A version; without one, all are listed.")] = None,
    *,
    as_json: Json = False,
) -> None:
    """The versions of a product, or all that is known about one of them."""
    with _store() as store:
        if version is not None:
            manifest = json.loads(store.manifest(product, version).to_json())
            if as_json:
                typer.echo(json.dumps(manifest))
            else:
                Console().print_json(data=manifest, indent=2)
            return
        active = store.all_active().get(product)
        rows = [_version_row(store, product, version, active) for version in store.versions(product)]
        history = store.history(product)
    if as_json:
        typer.echo(json.dumps({"product": product, "active": active, "versions": rows, "history": history}))
        return
    table = Table(
        _whole("", 7),
        _whole("version"),
        _whole("feature space"),
        _whole("threshold", 9),
        Column("layers", overflow="fold"),
        _whole("MB", 2),
        title=escape(product),
        box=None,  # its lines would take the room for the layers from a terminal of 80 columns
        pad_edge=False,
    )
    for row in rows:
        if "damaged" in row:
            table.add_row("[red]damaged", row["version"])
            continue
        table.add_row(
            "active" if row["active"] else "",
            row["version"],
            row["feature_space"],
            f"{row['threshold']:.4f}",
            " ".join(row["layers"]),
            f"{row['bytes'] / 1e6:.1f}",
        )
    _print(table)
    _tell_damage(rows)


@app.command()
def activate(
    product: Product,
    version: Annotated[str, typer.Argument(help="A published version, see `chipsieve bank show`.")],
    *,
    as_json: Json = False,
) -> None:
    """Let a published version judge, after verifying it; matchers and extractors follow within half a second."""
    with _store() as store:
        changed = store.activate(product, version)
    _report(
        {"product": product, "active": version, "changed": changed},
        f"{product}: {version} {'is active now' if changed else 'was active already'}",
        as_json=as_json,
    )


@app.command()
def rollback(product: Product, *, as_json: Json = False) -> None:
    """Let the version judge that did before; called again, the one before that."""
    with _store() as store:
        before = store.active(product)
        version = store.rollback(product)
    _report(
        {"product": product, "active": version, "rolled_back_from": before},
        f"{product}: {version} is active again, in place of {before}",
        as_json=as_json,
    )


@app.command()
def remove(
    product: Product,
    versions: Annotated[list[str], typer.Argument(help="Versions that do not judge, see `chipsieve bank show`.")],
    *,
    as_json: Json = False,
) -> None:
    """Forget versions for good: `rollback` steps over them, and `explain` needs their bundles' folders.

    Wait a minute after another version took over: until then chips may be on their way that one of these has to judge.
    """
    versions = [*dict.fromkeys(versions)]
    with _store() as store:
        store.remove(product, versions)
        try:
            left = store.versions(product)
        except UnknownProduct:  # of one that never judged, the last is gone
            left = []
    _report(
        {"product": product, "removed": versions, "versions": left},
        f"{product}: {', '.join(versions)} removed, {len(left)} left",
        as_json=as_json,
    )


def _whole(title: str, width: int = 16) -> Column:
    """A column that people copy from: never cut, however narrow the terminal."""
    return Column(title, no_wrap=True, min_width=width)


def _tell_damage(rows: Iterable[dict[str, Any]]) -> None:
    for row in rows:
        if "damaged" in row:
            typer.echo(row["damaged"])


def _print(table: Table) -> None:
    """In a pipe, lines are as long as they need to be: what reads them looks for whole words."""
    Console(width=None if sys.stdout.isatty() else PIPE_WIDTH).print(table)


@contextmanager
def _store() -> Iterator[BankStore]:
    store = BankStore(Settings().redis)
    try:
        yield store
    finally:
        store.close()


def _product_row(store: BankStore, product: str, active: str | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "product": product,
        "active": active,
        "versions": len(store.versions(product)),
        "feature_space": None,
        "threshold": None,
    }
    if active is not None:
        shown = _version_row(store, product, active, active)
        row |= {key: shown[key] for key in ("feature_space", "threshold", "damaged") if key in shown}
    return row


def _version_row(store: BankStore, product: str, version: str, active: str | None) -> dict[str, Any]:
    row: dict[str, Any] = {"version": version, "active": version == active}
    try:
        manifest = store.manifest(product, version)
    except (CorruptBundle, UnknownVersion) as error:
        return row | {"damaged": str(error)}
    return row | {
        "created_at": manifest.created_at.isoformat(),
        "feature_space": manifest.feature_space,
        "threshold": manifest.threshold,
        "mask_threshold": manifest.mask_threshold,
        "layers": [layer.name for layer in manifest.recipe.layers],
        "bytes": manifest.size,
        # Digests tell a picture that comes again, and nothing to a person.
        "training": {name: value for name, value in manifest.training.items() if name != "digests"},
    }


def _report(document: dict[str, Any], sentence: str, *, as_json: bool) -> None:
    typer.echo(json.dumps(document) if as_json else sentence)
