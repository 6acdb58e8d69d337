"""How far the trainer's long jobs are: bars on a terminal, now and then a line in a file."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from services.trainer.progress import Progress as Told

QUIET_S = 30.0  # seconds without a line, after which a stage that goes on says so


@contextmanager
def bars(console: Console) -> Iterator[Told]:
    """Bars on `console`, one a stage, as long as the block runs; lines where it is no terminal."""
    if not console.is_terminal:
        yield Lines(lambda line: console.print(line, markup=False, soft_wrap=True))
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=console) as shown:

        def told(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = shown.add_task(stage, total=total)
            shown.update(tasks[stage], completed=done, total=total)  # a stage may come again, with more to do

        yield told


class Lines:
    """A line where a stage begins and ends, and whenever none was written for `QUIET_S`."""

    def __init__(self, write: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        """`write` takes a line without its end; `clock` gives seconds."""
        self._write = write
        self._clock = clock
        self._begun: set[str] = set()
        self._written = clock()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """As `services.trainer.progress.Progress`."""
        now = self._clock()
        if stage in self._begun and done < total and now - self._written < QUIET_S:
            return
        if done < total:
            self._begun.add(stage)
        else:
            self._begun.discard(stage)
        self._written = now
        self._write(f"{stage}: {done} of {total}")
