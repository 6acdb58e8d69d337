"""`chipsieve bench`: how fast the line is on this machine, beside the bare arithmetic."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from services.cli.benchmark.deadlines import bench_deadlines
from services.cli.benchmark.draining import bench_draining
from services.cli.benchmark.pipeline import PipelineFigures, bench_pipeline
from services.cli.benchmark.rig import own_stack
from services.cli.benchmark.soak import bench_soak
from services.cli.options import Deadline, Json, JudgingBundle, SentPictures
from services.cli.precision import PrecisionChoice
from services.trainer.material.pictures import find_pictures
from shared.bank.bundle_folder import read_bundle

app = typer.Typer(no_args_is_help=True, help="Measure throughput and latency on this machine.")
console = Console(stderr=True)


@app.command()
def pipeline(
    images: SentPictures,
    bundle: JudgingBundle = None,
    count: Annotated[
        int, typer.Option(min=100, help="Pictures to send for the throughput; the folder is repeated.")
    ] = 1500,
    precision: Annotated[
        PrecisionChoice, typer.Option(help="Of a bank that is built from the pictures; auto: the machine's best.")
    ] = PrecisionChoice.AUTO,
    as_json: Json = False,
) -> None:
    """Throughput and latency of the three stages through a real broker, beside the same work in one process.

    Starts a stack and services of its own, warms the broker up as one that has run for days (a minute or two), and ends
    them. `pipeline_images_per_second` counts from the first picture produced to the last verdict committed;
    `bare_images_per_second` is decode, features and matching in one process, in the same run; `efficiency` is their
    ratio. Latency (captured to verdict readable) is taken afterwards at 25, 50 and 75 % of the throughput, measured
    from when each picture was due. CPU time a picture, by process, tells what the line costs on a busy machine, too.
    """
    _look(images, bundle)
    with own_stack(console, full_compiler=True) as work:
        figures = bench_pipeline(images, bundle, count=count, work=work, console=console, precision=precision.asked)
    if as_json:
        typer.echo(json.dumps(asdict(figures)))
    else:
        typer.echo(_table(figures))


@app.command()
def deadlines(
    *,
    images: SentPictures,
    bundle: JudgingBundle = None,
    load: Annotated[
        float, typer.Option(min=0.05, max=0.9, help="Share of the line's throughput to send all the time.")
    ] = 0.5,
    outage: Annotated[float, typer.Option(min=1, max=86_400, help="Seconds without an extractor.")] = 30.0,
    deadline: Deadline = 2000,
    as_json: Json = False,
) -> None:
    """How soon chips are on time again after the extractor was away under load.

    Starts a stack and services of its own, and ends them. Late chips must drain far quicker than chips are inspected.
    """
    _look(images, bundle)
    with own_stack(console) as work:
        figures = bench_deadlines(
            images, bundle, load=load, outage_s=outage, deadline_ms=deadline, work=work, console=console
        )
    _tell(asdict(figures), as_json=as_json)


@app.command()
def soak(
    *,
    images: SentPictures,
    bundle: JudgingBundle = None,
    load: Annotated[float, typer.Option(min=0.1, max=20, help="What is sent, in multiples of the throughput.")] = 2.0,
    seconds: Annotated[float, typer.Option(min=20, max=7 * 86_400, help="For how long.")] = 600.0,
    deadline: Deadline = 2000,
    as_json: Json = False,
) -> None:
    """Memory of each service, rebalances and verdicts on time while the line gets more than it can inspect.

    Pictures come through the gateway. With the default of `CHIPSIEVE_STREAM__REMEMBERED_CHIPS` extractor and matcher
    fill up to 10 MiB each with what they remember; a small one shows whether anything else grows.

    Starts a stack and services of its own, and ends them.
    """
    _look(images, bundle)
    with own_stack(console) as work:
        figures = bench_soak(
            images, bundle, load=load, seconds=seconds, deadline_ms=deadline, work=work, console=console
        )
    _tell(asdict(figures), as_json=as_json)


@app.command()
def draining(
    *,
    images: SentPictures,
    bundle: JudgingBundle = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each service is stopped.")] = 3,
    as_json: Json = False,
) -> None:
    """From SIGTERM to the exit of each service under load, and whether anything was done twice or got lost.

    Starts a stack and services of its own, and ends them. Pictures come through the gateway, which is stopped too.
    """
    _look(images, bundle)
    with own_stack(console) as work:
        figures = bench_draining(images, bundle, rounds=rounds, work=work, console=console)
    _tell(asdict(figures), as_json=as_json)


def _look(images: Path, bundle: Path | None) -> None:
    """Raise what is wrong with the arguments before a stack is started for nothing."""
    find_pictures(images)
    if bundle:
        read_bundle(bundle)


def _tell(figures: dict[str, Any], *, as_json: bool) -> None:
    """One JSON document, or a line a figure."""
    if as_json:
        typer.echo(json.dumps(figures))
        return
    for name, value in figures.items():
        parts = value.items() if isinstance(value, dict) else [(None, value)]
        for part, of_part in parts:
            typer.echo(f"{name if part is None else f'{name}, {part}':<36}{_plain(of_part)}")


def _plain(value: Any) -> str:
    """A figure for people: a list's items side by side, a group's each with its name."""
    if isinstance(value, dict):
        return "  ".join(f"{name} {_plain(of_name)}" for name, of_name in value.items())
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _table(figures: PipelineFigures) -> str:
    table = Table(title=f"{figures.images} pictures, {figures.engine} {figures.precision}, {figures.cpus} CPUs")
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_row("whole line", f"{figures.pipeline_images_per_second:.1f} images/s")
    table.add_row("bare arithmetic", f"{figures.bare_images_per_second:.1f} images/s")
    table.add_row("efficiency", f"{figures.efficiency:.2f}")
    for load, found in figures.latency_ms.items():
        for name, milliseconds in found.items():
            table.add_row(f"latency at {float(load):.0%} of it, {name}", f"{milliseconds:.0f} ms")
    table.add_row("CPU an image, bare", f"{figures.bare_cpu_ms:.2f} ms")
    for process, milliseconds in figures.cpu_ms.items():
        table.add_row(f"CPU an image, {process}", f"{milliseconds:.2f} ms")
    plain = Console(width=80)
    with plain.capture() as captured:
        plain.print(table)
    return captured.get()
