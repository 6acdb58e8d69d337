"""The admin port: ``/metrics`` for Prometheus, ``/healthz`` (alive?) and ``/readyz`` (able to judge?)."""

import json
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET6
from threading import Event, Thread
from typing import Any

import structlog
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder
from typing_extensions import override

from shared import metrics
from shared.errors import ConfigurationError
from shared.settings import AdminSettings
from shared.stream.vitals import Vitals

ASK_AGAIN_S = 2.0  # how old what /metrics says of readiness may be, beside what the answer takes
SILENCE_S = 10.0  # a connection that asks nothing for so long is closed: each has a thread

log = structlog.get_logger()

Answer = tuple[int, str, bytes]


def healthz(vitals: Vitals) -> Answer:
    """200 while the loop goes round; 503 with the reason where the process should be restarted."""
    because = vitals.dead_because()
    return _json({"alive": because is None, "because": because}, ok=because is None)


def readyz(vitals: Vitals, stage: str) -> Answer:
    """200 where a chip could be judged now; 503 with the reason where not."""
    because = vitals.not_ready_because()
    metrics.READY.labels(stage).set(because is None)
    body = {
        "ready": because is None,
        "because": because,
        "degraded": vitals.degraded_because(),
        "stage": stage,
        "partitions": sorted(vitals.partitions),
    }
    return _json(body, ok=because is None)


def exposition(accept: str = "") -> Answer:
    """Everything in the catalogue of `shared.metrics`, and the process itself; asks nobody.

    In OpenMetrics, with exemplars, where that is what is accepted, as Prometheus does.
    """
    encode, content_type = choose_encoder(accept)
    return 200, content_type, encode(REGISTRY)


class AdminServer:
    """Serves from a thread of its own, so that it answers whatever the loop and the worker do."""

    def __init__(self, settings: AdminSettings, vitals: Vitals, stage: str) -> None:
        answers: dict[str, Callable[[str], Answer]] = {
            "/healthz": lambda _accept: healthz(vitals),
            "/readyz": lambda _accept: readyz(vitals, stage),
            "/metrics": exposition,
        }

        class Handler(BaseHTTPRequestHandler):
            timeout = SILENCE_S

            def do_GET(self) -> None:
                """Answer one of the three paths."""
                answer = answers.get(self.path.partition("?")[0])
                accept = self.headers.get("Accept", "")
                status, kind, body = (
                    answer(accept) if answer else _json({"paths": sorted(answers)}, ok=False, status=404)
                )
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_args: Any) -> None:
                """Keep probes out of the log."""

        try:
            self._server = (_Server6 if ":" in settings.host else _Server)((settings.host, settings.port), Handler)
        except OSError as error:
            raise ConfigurationError(
                f"admin port {settings.host}:{settings.port} cannot be opened: {error.strerror}; set "
                "CHIPSIEVE_ADMIN__HOST to an address of this machine, and CHIPSIEVE_ADMIN__PORT to a free one or 0 to "
                "have one chosen"
            ) from error
        self._thread = Thread(target=self._server.serve_forever, args=(0.1,), name="admin", daemon=True)
        self._vitals, self._stage = vitals, stage
        self._closing = Event()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Answer from now on."""
        metrics.READY.labels(self._stage).set(False)  # until it is known
        Thread(target=self._keep_asking, name="readiness", daemon=True).start()
        self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        self._closing.set()  # whoever is being asked may still take a while: that thread is not waited for
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _keep_asking(self) -> None:
        """Ask whether it is ready for whoever reads the metrics: the answer may hang on others that are silent."""
        while not self._closing.is_set():
            try:
                readyz(self._vitals, self._stage)
            except Exception as error:  # one answer that cannot be had must not be the last that was asked for
                metrics.READY.labels(self._stage).set(False)
                log.error("readiness_unknown", reason=repr(error), exc_info=error)
            self._closing.wait(ASK_AGAIN_S)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what went wrong with a question as all else is logged, but for a prober that did not wait so long."""
        if not isinstance(error := sys.exception(), ConnectionError):
            log.error("not_answered", reason=repr(error), exc_info=error)


class _Server6(_Server):
    address_family = AF_INET6


def _json(body: dict[str, Any], *, ok: bool, status: int | None = None) -> Answer:
    return status or (200 if ok else 503), "application/json", json.dumps(body).encode() + b"\n"
