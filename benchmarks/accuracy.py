"""How accurate Chipsieve is on sets of pictures, end to end and without flags: one command, a table and a JSON.

    python -m benchmarks.accuracy --tiles DIR --board DIR --board DIR --out out/accuracy

Every measurement is kept in ``--out`` as soon as it is made, and an interrupted run goes on where it stopped; remove a
file in ``measured/`` to measure it again. Pictures are linked into folders of splits, never copied.

``--tiles`` is a folder of parts that were photographed several times: ``train/normal``, ``test/normal``,
``test/abnormal/<kind>``, ``test/masks/<kind>`` and ``groups.csv``, which names each good picture's part. ``--board``
has ``normal`` and ``abnormal``, pictures of one crop under one name. ``--other`` is a folder in the layout of MVTec AD:
``train/good``, ``test/good``, ``test/<kind>``.
"""

import json
import statistics
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.accuracy_sets import RATE, STRICT_RATE, Figures, Measure, measure_board, measure_other, plan_of_tiles

MAX_BROKEN = 2  # of ten promises at 90 % confidence
SPLITS_SAID = {
    "random": "a random split (leaks)",
    "grouped": "a grouped split",
    "marked": "a grouped split, masks known",
}
QUICK_SECONDS = 300  # on two cores that do nothing else

messages = Console(stderr=True, highlight=False)


@dataclass(frozen=True, slots=True)
class Goal:
    """One line of the table."""

    what: str
    found: float
    goal: float
    at_most: bool = False

    @property
    def is_met(self) -> bool:
        """Whether the figure is as good as is asked."""
        return self.found <= self.goal if self.at_most else self.found >= self.goal


def main(
    *,
    out: Annotated[Path, typer.Option(help="Folder for what is measured; goes on with what is there.")],
    tiles: Annotated[Path | None, typer.Option(help="Set of grouped pictures with defects and masks.")] = None,
    board: Annotated[list[Path] | None, typer.Option(help="Set of good and defective crops; may be repeated.")] = None,
    other: Annotated[list[Path] | None, typer.Option(help="Set in MVTec AD's layout; may be repeated.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Measurements whose names begin so; may be repeated.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of training and of splits.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the JSON instead of the table.")] = False,
) -> None:
    """Measure, show the table, and write accuracy.json beside what was measured."""
    plan: dict[str, Measure] = {}
    if tiles:
        plan |= plan_of_tiles(tiles, seed)
    for folder in board or ():
        plan[f"board {folder.name}"] = partial(measure_board, folder, seed)
    for folder in other or ():
        plan[f"other {folder.name}"] = partial(measure_other, folder, seed)
    if not plan:
        raise typer.BadParameter("give --tiles, --board or --other: there is nothing to measure")
    kept = out / "measured"
    kept.mkdir(parents=True, exist_ok=True)
    measured: dict[str, Figures] = {}
    for name, measure in plan.items():
        file = kept / f"{name.replace(' ', '-')}.json"
        if not file.exists():
            if only and not name.startswith(tuple(only)):
                continue
            messages.print(f"measuring {name}")
            file.write_text(json.dumps(_timed(measure, out / "work" / file.stem)), encoding="utf-8")
        measured[name] = json.loads(file.read_text(encoding="utf-8"))
    goals = _goals(measured)
    document = {
        "seed": seed,
        "goals": [asdict(goal) | {"is_met": goal.is_met} for goal in goals],
        "measured": measured,
    }
    (out / "accuracy.json").write_text(json.dumps(document, indent=1), encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(document))
        return
    table = Table("figure", "found", "goal", "met")
    for goal in goals:
        sign = "≤" if goal.at_most else "≥"
        table.add_row(goal.what, f"{goal.found:.4f}", f"{sign} {goal.goal:g}", "yes" if goal.is_met else "no")
    Console(highlight=False, width=100).print(table)


def _timed(measure: Measure, work: Path) -> Figures:
    work.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    figures = measure(work)
    return figures | {"seconds": time.perf_counter() - started}


def _goals(measured: dict[str, Figures]) -> list[Goal]:
    """Of everything that was measured so far."""
    goals = []
    if given := measured.get("given split"):
        goals += [
            Goal("image AUROC, given split", given["image_auroc"], 0.92),
            Goal("AU-PRO, given split", given["au_pro"], 0.72),
        ]
    if splits := _of(measured, "group split"):
        goals.append(
            Goal(f"image AUROC, mean of {len(splits)} group splits", _mean(splits.values(), "image_auroc"), 0.9)
        )
    goals += [Goal(f"image AUROC, {name}", each["image_auroc"], 0.99) for name, each in _of(measured, "board").items()]
    if others := _of(measured, "other"):
        goals += [
            Goal(f"image AUROC, mean of {len(others)} other sets", _mean(others.values(), "image_auroc"), 0.95),
            Goal("image AUROC, worst of other sets", min(each["image_auroc"] for each in others.values()), 0.9),
        ]
    if promises := _of(measured, "promise"):
        for name, rate in (("at_5_percent", RATE), ("at_1_percent", STRICT_RATE)):
            made = [each[name]["realised"] for each in promises.values() if not each[name]["refused"]]
            said = f"{len(made)} promises made of {len(promises)} at {rate:.0%}"
            goals.append(Goal(f"broken ones of {said}", sum(each > rate for each in made), MAX_BROKEN, at_most=True))
    for kind, figures in (
        ("random", {"accuracy": 0.985, "precision": 0.972, "recall": 0.98}),
        ("grouped", {"f1": 0.8}),
        ("marked", {"f1": 0.8}),
    ):
        if supervised := _of(measured, f"supervised {kind}"):
            said = SPLITS_SAID[kind]
            goals += [
                Goal(
                    f"{figure}, supervised, {said}, mean of {len(supervised)}", _mean(supervised.values(), figure), goal
                )
                for figure, goal in figures.items()
            ]
    if quick := measured.get("ablate quick"):
        goals += [
            Goal("seconds of ablate --quick", quick["seconds_of_study"], QUICK_SECONDS, at_most=True),
            Goal(f"empty rows of its {quick['rows']}", len(quick["empty"]), 0, at_most=True),
        ]
    return goals


def _of(measured: dict[str, Figures], name: str) -> dict[str, Figures]:
    return {each: figures for each, figures in measured.items() if each.startswith(name)}


def _mean(figures: Iterable[Figures], figure: str) -> float:
    return statistics.fmean(each[figure] for each in figures)


if __name__ == "__main__":
    typer.run(main)
