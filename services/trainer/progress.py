"""How far a long job is, told to whoever wants to show it."""

from typing import Protocol


class Progress(Protocol):
    """Called again and again while a stage of a job goes on."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """`done` of `total` units of `stage` are behind us; a stage ends with done = total."""


def silent(stage: str, done: int, total: int) -> None:
    """Progress that nobody looks at."""
