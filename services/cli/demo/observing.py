"""A Prometheus of the demo's own, that watches the line's services and is asked at the end what it has seen."""

import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from services.cli.line import DIRECT, free_port
from shared.errors import ChipsieveError
from shared.topics import SCHEMAS

RULES = SCHEMAS.parent / "ops" / "prometheus" / "alerts.yml"
READY_S = 60.0
END_S = 10.0
LOOK_AGAIN_S = 0.1  # between two looks at whether it is ready
SCRAPE_S = 30.0  # a service that has gone is not waited for any longer
QUESTIONS: Mapping[str, str] = {
    "chips by verdict, line and product": 'sum by (verdict, line, product) (chipsieve_verdicts_total{stage="matcher"})',
    "age of the verdict, median, s": (
        'histogram_quantile(0.5, sum by (le) (chipsieve_chip_age_seconds_bucket{stage="router"}))'
    ),
    "age of the verdict, 99 of 100, s": (
        'histogram_quantile(0.99, sum by (le) (chipsieve_chip_age_seconds_bucket{stage="router"}))'
    ),
    "time in a stage, median, s": "histogram_quantile(0.5, sum by (stage, le) (chipsieve_stage_seconds_bucket))",
    "records in a batch, mean": (
        "sum by (stage) (chipsieve_batch_size_sum) / sum by (stage) (chipsieve_batch_size_count)"
    ),
    "lag, records": "sum by (stage) (chipsieve_lag_records)",
    "bank versions": "count by (product, version) (chipsieve_bank_info)",
    "dead letters": "sum by (stage) (chipsieve_dead_letters_total)",
    "deadlines missed": "sum by (line) (chipsieve_deadline_misses_total)",
    "alerts firing": 'ALERTS{alertstate="firing"}',
}


class PrometheusFailed(ChipsieveError):
    """Prometheus is not installed, or did not start."""


class Observatory:
    """Prometheus for as long as the ``with`` block lasts.

    Args:
        directory: gets its configuration, data and log.
        targets: the services' admin ports by name.

    Raises:
        PrometheusFailed: it is not installed, or was not ready in time.
    """

    def __init__(self, directory: Path, targets: Sequence[tuple[str, int]]) -> None:
        program = shutil.which("prometheus")
        if program is None:
            raise PrometheusFailed("prometheus is not installed: apt-get install prometheus, or leave out --observe")
        self._directory = directory
        self._port = free_port()
        self._targets = targets
        self._command = [
            program,
            f"--config.file={directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{self._port}",
            "--enable-feature=exemplar-storage",
        ]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where its own pages are."""
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self._directory.mkdir(parents=True, exist_ok=True)
        (self._directory / "prometheus.yml").write_text(yaml.safe_dump(configuration(self._targets)))
        log = self._directory / "log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        deadline = time.monotonic() + READY_S
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._end()
                raise PrometheusFailed(f"Prometheus did not start; {log} ends with:\n{log.read_text()[-1000:]}")
            time.sleep(LOOK_AGAIN_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    def ask(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """The answer to a query now: labels and value of each series."""
        query = urllib.parse.urlencode({"query": expression})
        with DIRECT.open(f"{self.url}/api/v1/query?{query}", timeout=10) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return [(series["metric"], float(series["value"][1])) for series in found]

    def account(self) -> list[str]:
        """What it has seen up to now, in lines for people."""
        self._wait_for_scrape()
        lines = []
        for question, expression in QUESTIONS.items():
            answers = sorted((" ".join(labels.values()), value) for labels, value in self.ask(expression))
            lines.append(f"{question}: {'; '.join(f'{name} {value:.4g}'.strip() for name, value in answers) or 'none'}")
        return lines

    def _wait_for_scrape(self) -> None:
        """Return when every service has been asked once more; Prometheus begins with them 5 s after its own start."""
        now = time.time()
        deadline = time.monotonic() + SCRAPE_S
        while len(self.ask(f"timestamp(up) > {now}")) < len(self._targets) and time.monotonic() < deadline:
            time.sleep(LOOK_AGAIN_S)

    def _is_ready(self) -> bool:
        try:
            with DIRECT.open(f"{self.url}/-/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _end(self) -> None:
        if self._process:
            self._process.terminate()
            try:
                self._process.wait(END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def configuration(targets: Sequence[tuple[str, int]]) -> dict[str, Any]:
    """Each service by the name of its job, as on every other platform; with the alerts where the source has them."""
    return {
        "global": {"scrape_interval": "1s", "evaluation_interval": "5s"},
        "rule_files": [str(RULES)] if RULES.exists() else [],
        "scrape_configs": [
            {
                "job_name": "chipsieve",
                "static_configs": [
                    {"targets": [f"127.0.0.1:{port}"], "labels": {"job": name}} for name, port in targets
                ],
            }
        ],
    }
