"""Which faults happen when: drawn from the seed, so that a run can be repeated."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product

from services.cli.line import STAGES
from tests.fault.whole_line.dying_producer import Point
from tests.fault.whole_line.replicas import SLOTS


class Happening(StrEnum):
    """What happens."""

    KILL = "kill"
    """SIGKILL of a replica at any moment."""
    KILL_AT = "kill at"
    """SIGKILL of a replica at a point of a transaction."""
    KILL_STAGE = "kill stage"
    """SIGKILL of both replicas of a stage."""
    FREEZE = "freeze"
    """SIGSTOP for longer than the group's session timeout, another replica killed meanwhile, then SIGCONT."""
    ZOMBIE = "zombie"
    """SIGSTOP, another process started in the slot, SIGCONT: the first must be fenced."""
    SCALE = "scale"
    """A third replica comes and goes."""
    BROKER = "broker"
    """SIGKILL of the broker, a replica killed while it is away, restart."""
    DISK_FULL = "disk full"
    """The broker can write no more, ends, and is restarted with space."""
    REDIS = "redis"
    """SIGKILL of Valkey, a replica killed while it is away; all banks lost; restart, and the bundle published again."""
    REGISTRY = "registry"
    """SIGKILL of the registry, a replica killed while it is away, restart."""


KILLS = {
    Happening.KILL: 1,
    Happening.KILL_AT: 1,
    Happening.KILL_STAGE: 2,
    Happening.FREEZE: 1,
    Happening.BROKER: 1,
    Happening.REDIS: 1,
    Happening.REGISTRY: 1,
}
"""How many services each kills."""
KILLS_A_ROUND = 20


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a run."""

    after: int
    """Chips that have been sent before it."""
    happening: Happening
    stage: str
    slot: str
    bystander: tuple[str, str]
    """Stage and slot of the replica that is killed while a server is away or another replica frozen."""
    point: Point
    delay_s: float
    """From the moment that the chips before it have been sent; also how long a server stays away, times ten."""

    def __str__(self) -> str:
        at = f" {self.point.value}" if self.happening is Happening.KILL_AT else ""
        return f"after {self.after}: {self.happening.value} {self.stage} {self.slot}{at}, {self.delay_s:.2f} s"


def schedule(seed: int, chips: int, kills: int) -> list[Fault]:
    """Faults spread evenly over a run; they kill services `kills` times in all.

    Raises:
        ValueError: fewer kills than one of each kind of fault takes.
    """
    dice = random.Random(seed)
    happenings = _happenings(kills)
    dice.shuffle(happenings)
    # All combinations before any comes a second time.
    points = _forever(dice, list(product(STAGES, Point)))
    replicas = _forever(dice, list(product(STAGES, SLOTS)))
    faults = []
    for number, happening in enumerate(happenings):
        stage, slot = next(replicas)
        point = Point.AFTER_PRODUCE
        if happening is Happening.KILL_AT:
            stage, point = next(points)
        others = [other for other in product(STAGES, SLOTS) if other != (stage, slot)]
        if happening is Happening.REDIS:  # the stages that need banks
            others = [other for other in others if other[0] != "router"]
        faults.append(
            Fault(
                after=(number + 1) * chips // (len(happenings) + 1),
                happening=happening,
                stage=stage,
                slot=slot,
                bystander=dice.choice(others),
                point=point,
                delay_s=dice.uniform(0, 0.4),
            )
        )
    return faults


def _happenings(kills: int) -> list[Happening]:
    """One of each kind, more of each for every round, and the rest as plain kills, most at points."""
    rounds = max(1, round(kills / KILLS_A_ROUND))
    others = [happening for happening in Happening if happening not in (Happening.KILL, Happening.KILL_AT)]
    if kills < KILLS_A_ROUND:
        others.remove(Happening.DISK_FULL)  # the broker takes long to come back from it: not in a short run
    found = others * rounds
    left = kills - sum(KILLS.get(happening, 0) for happening in found)
    if left < 0:
        raise ValueError(f"{kills} kills are too few: one of each kind of fault takes {kills - left}")
    at_points = left * 2 // 3
    return found + [Happening.KILL_AT] * at_points + [Happening.KILL] * (left - at_points)


def _forever(dice: random.Random, choices: Sequence[tuple]):
    while True:
        shuffled = list(choices)
        dice.shuffle(shuffled)
        yield from shuffled
