"""The run's own broker, Valkey and registry, and everything that can be done to them."""

import shutil
from pathlib import Path

import psutil

from services.cli.local_stack import process
from services.cli.local_stack import stack as local_stack
from shared.bank.bundle_folder import read_bundle
from shared.bank.store import BankStore
from shared.settings import RedisSettings
from tests.fault.whole_line.replica import wait_for


class Servers:
    """A local stack in a directory of its own. It keeps its addresses over every restart."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.addresses = local_stack.up(directory)

    def start(self) -> None:
        """Start what does not run, and wait until everything answers."""
        local_stack.up(self._directory)

    def stop(self) -> None:
        """End everything; data and logs stay."""
        local_stack.down(self._directory)

    def kill(self, name: str) -> None:
        """SIGKILL to one server: kafka, redis or registry."""
        running = self._process(name)
        running.kill()
        wait_for(lambda: not process.runs(running), f"{name} to be gone")

    def fill_disk(self, topic: str) -> None:
        """Let the broker take no more records of a topic, by its limit on file sizes; it then ends by itself.

        To a broker a write that fails is a write that fails (EFBIG here, ENOSPC on a full disk): it gives the log
        directory up, and with its only one itself. The limit needs neither root nor a file system of its own. It is the
        size that the topic's logs have, so that logs which are smaller are whole when the broker ends.
        """
        running = self._process("kafka")
        largest = max(log.stat().st_size for log in (self._directory / "kafka" / "data").glob(f"{topic}-*/*.log"))
        hard = running.rlimit(psutil.RLIMIT_FSIZE)[1]
        running.rlimit(psutil.RLIMIT_FSIZE, (largest, hard))
        wait_for(lambda: not process.runs(running), "the broker to give up")

    def forget_banks(self) -> None:
        """Remove the data of a Valkey that does not run."""
        shutil.rmtree(self._directory / "redis")

    def publish(self, bundle: Path) -> None:
        """Publish and activate the run's only bundle."""
        BankStore(RedisSettings(url=self.addresses.redis)).publish(read_bundle(bundle))

    def _process(self, name: str) -> psutil.Process:
        record = process.read_record(self._directory / "run" / f"{name}.json")
        running = record.process() if record else None
        if running is None:
            raise RuntimeError(f"{name} does not run in {self._directory}")
        return running
