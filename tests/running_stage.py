"""A stage on a thread of this process, against the real broker."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from threading import Thread

import pytest

from shared.settings import ServiceSettings, StreamSettings
from shared.stream.service import Service
from shared.topics import Topics
from tests.kafka_records import Records, wait_for
from tests.toy_stage import ToyStep


class RunningStage:
    """A stage on a thread of this process."""

    def __init__(self, step: ToyStep, **stream: object) -> None:
        self.step = step
        self.service = Service(step, ServiceSettings(stream=StreamSettings(**stream)))
        self.exit_status: int | None = None
        self._thread = Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self.exit_status = self.service.run()

    def ask(self, path: str) -> tuple[int, str]:
        """Status and body of the admin port's answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.service.admin_port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def readiness(self) -> dict[str, object]:
        """What /readyz says."""
        return json.loads(self.ask("/readyz")[1])

    def wait_until_it_owns(self, partitions: int) -> None:
        """Return once it has that many partitions and is ready."""
        wait_for(
            lambda: (
                self.service.admin_port
                and (answer := self.readiness())["ready"]
                and len(answer["partitions"]) == partitions
            ),
            f"{partitions} partitions",
        )

    def stop(self) -> int | None:
        """Drain it; its exit status."""
        self.service.stop()
        self.step.may_go_on.set()
        return self.join()

    def join(self) -> int | None:
        """Wait until it has ended; its exit status."""
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self.exit_status


@pytest.fixture
def start(topics: Topics) -> Iterator[Callable[..., RunningStage]]:
    """Starts stages on the test's topics, and ends them with the test."""
    stages: list[RunningStage] = []

    def start_stage(step: ToyStep | None = None, **stream: object) -> RunningStage:
        stages.append(RunningStage(step or ToyStep(), **stream))
        return stages[-1]

    yield start_stage
    for stage in stages:
        stage.stop()


@pytest.fixture
def records(topics: Topics) -> Records:
    """The test's topics from outside."""
    return Records(topics)
