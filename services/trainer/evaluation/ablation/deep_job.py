"""What a deep row's process is told, and what it tells, as JSON: a line each, on its standard input and output."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepJob:
    """One row, all splits that are still to be measured."""

    row: str
    features: Path
    """Folder of `Features`."""
    truth: list[bool]
    """Whether each picture is defective."""
    splits: list[tuple[str, list[int], list[int]]]
    """Name, training pictures, test pictures."""
    seed: int
    size: int
    """Side that pictures are trained on, pixels; a row that trains on features has none of its own."""
    epochs: int
    """Times that every training picture is seen, at most."""
    seconds: float
    """For all splits together, from the process's start."""
    seconds_a_split: float
    """Of training, at most."""
    threads: int

    def to_json(self) -> str:
        """One line."""
        return json.dumps({**asdict(self), "features": str(self.features)})

    @classmethod
    def from_json(cls, line: str) -> Self:
        """From `to_json`'s form."""
        plain: dict[str, Any] = json.loads(line)
        splits = [(name, train, test) for name, train, test in plain["splits"]]
        return cls(**{**plain, "features": Path(plain["features"]), "splits": splits})


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepAnswer:
    """What a network made of one split's test pictures."""

    split: str
    scores: list[float]
    """Logits: above 0 a picture is rejected."""
    parameters: int
    ms_per_image: float
    notes: dict[str, Any]

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Self:
        """From `to_json`'s form."""
        return cls(**json.loads(line))
