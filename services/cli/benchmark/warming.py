"""A broker as one in a factory is: it has run for days, and its Java has compiled what it does all the time."""

from collections.abc import Sequence
from itertools import cycle, islice

from rich.console import Console

from services.cli.benchmark.processes import CpuTimes, server_pids
from services.cli.benchmark.rig import Rig, send

# A round has chips that come alone, each of which takes a transaction of every stage, and many at once.
ALONE, INTERVAL_S = 200, 1 / 40
AT_ONCE = 600
FEWEST_ROUNDS, MOST_ROUNDS = 6, 20  # of some 7 s
# Done when the broker's CPU time of a round is no less than this share of the two before it.
SETTLED = 0.95


def warm_up(rig: Rig, product: str, pictures: Sequence[bytes], console: Console) -> None:
    """Send pictures until the broker takes no less CPU time for them than before; forgets their verdicts.

    Raises:
        BenchmarkFailed: verdicts are missing.
    """
    console.print("warming up: the broker compiles what it does often, which takes a minute or two …")
    spent: list[float] = []
    while len(spent) < FEWEST_ROUNDS or (len(spent) < MOST_ROUNDS and not has_settled(spent)):
        broker = CpuTimes.of({"kafka": server_pids(rig.work)["kafka"]})
        for count, interval in ((ALONE, INTERVAL_S), (AT_ONCE, None)):
            send(rig.producer, product, list(islice(cycle(pictures), count)), interval=interval)
            rig.verdicts.wait_for(count)
            rig.verdicts.clear()
        spent.append(broker.since()["kafka"])
    if not has_settled(spent):
        console.print(f"the broker is not warm after {MOST_ROUNDS} rounds: the line can do more than is measured now")


def has_settled(spent: Sequence[float]) -> bool:
    """Whether the last of some rounds took about as much as the cheaper one of the two before it."""
    return len(spent) > 2 and spent[-1] >= SETTLED * min(spent[-3:-1])
