"""Lets faults happen, one after the other, and puts right what an operator would."""

import time
from collections import Counter
from pathlib import Path

from tests.fault.whole_line.replicas import Replicas
from tests.fault.whole_line.schedule import Fault, Happening
from tests.fault.whole_line.servers import Servers
from tests.fault.whole_line.telling import Tell

THIRD_SLOT = "2"


class Faults:
    """What happens to a running line.

    Args:
        servers: broker, Valkey and registry.
        replicas: the stages' processes.
        bundle: what is published again where it was lost.
        images: the topic whose records no longer fit on a full disk, as Kafka names it.
        frozen_s: how long a frozen process is; longer than the groups' session timeout.
        tell: is told of each fault.
    """

    def __init__(
        self, servers: Servers, replicas: Replicas, bundle: Path, *, images: str, frozen_s: float, tell: Tell
    ) -> None:
        self._servers = servers
        self._replicas = replicas
        self._bundle = bundle
        self._images = images
        self._frozen_s = frozen_s
        self._tell = tell
        self.restarts: Counter[str] = Counter()
        """Of servers, by name."""
        self.zombies = 0
        """Processes that had to be fenced."""
        self.missed_points = 0
        """Deaths at a point of a transaction that came at any moment instead, for want of a transaction."""

    def inject(self, fault: Fault) -> None:
        """Return when the fault is over, which is not when the line has recovered."""
        self._tell(str(fault))
        replicas = self._replicas
        if fault.happening not in (Happening.FREEZE, Happening.ZOMBIE, Happening.KILL_AT):
            time.sleep(fault.delay_s)
        match fault.happening:
            case Happening.KILL:
                replicas.ready(fault.stage, fault.slot)
                replicas.kill((fault.stage, fault.slot))
            case Happening.KILL_AT:
                self.missed_points += not replicas.kill_at(fault.stage, fault.slot, fault.point)
            case Happening.KILL_STAGE:
                replicas.kill((fault.stage, "0"), (fault.stage, "1"))
            case Happening.FREEZE:
                frozen = replicas.freeze(fault.stage, fault.slot)
                time.sleep(self._frozen_s / 2)
                replicas.kill(fault.bystander)
                time.sleep(self._frozen_s / 2)
                replicas.thaw(frozen)
            case Happening.ZOMBIE:
                zombie = replicas.freeze(fault.stage, fault.slot)
                replicas.replace(zombie)
                time.sleep(self._frozen_s)
                replicas.thaw(zombie)
                self.zombies += 1
            case Happening.SCALE:
                replicas.add(fault.stage, THIRD_SLOT)
                replicas.ready(fault.stage, THIRD_SLOT)
                replicas.remove(fault.stage, THIRD_SLOT)
            case Happening.BROKER:
                self._without("kafka", fault)
            case Happening.DISK_FULL:
                self._servers.fill_disk(self._images)
                self._restart("kafka")
            case Happening.REDIS:
                # No process may start between the loss and the publication: to it the product would be unknown.
                replicas.wait_until_ready()
                self._servers.kill("redis")
                time.sleep(fault.delay_s * 10)
                self._servers.forget_banks()
                self._restart("redis")
                self._servers.publish(self._bundle)
                replicas.kill(fault.bystander)
            case Happening.REGISTRY:
                self._without("registry", fault)

    def _without(self, server: str, fault: Fault) -> None:
        self._servers.kill(server)
        self._replicas.kill(fault.bystander)
        time.sleep(fault.delay_s * 10)
        self._restart(server)

    def _restart(self, server: str) -> None:
        self._servers.start()
        self.restarts[server] += 1
