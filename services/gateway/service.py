"""The gateway as a process: HTTP, folder watch and admin port over one producer."""

import signal
import socket
import threading
from types import FrameType

import structlog
import uvicorn

from services.gateway.certificate import Certificate
from services.gateway.connection import HalfOpenProtocol
from services.gateway.http import application
from services.gateway.producer import ImageProducer
from services.gateway.settings import DoorSettings, GatewaySettings
from services.gateway.watch import FolderWatch
from shared import tracing
from shared.errors import ConfigurationError
from shared.identity import IDS, MAX_ID_LENGTH
from shared.stream.admin import AdminServer
from shared.stream.errors import ExitStatus
from shared.stream.vitals import Vitals

NAME = "gateway"
# Of SIGTERM's 5 s: answers that wait for Kafka get 3, the rest closes the producer and the ports.
DRAIN_BUDGET_S = 3
# Connections that wait to be accepted while the process is busy with others.
BACKLOG = 128
# The ids of a picture in its request line, each character in up to twelve (four bytes as %F0), and 16 KiB for the rest,
# which is what the server takes by default for all of it.
HEAD_BYTES = len(IDS) * MAX_ID_LENGTH * 12 + 16 * 1024
LOOPBACK = {"127.0.0.1", "::1", "localhost"}

log = structlog.get_logger()


class GatewayVitals(Vitals):
    """Alive while its producer can go on and its folder is watched, ready while broker and registry answer."""

    def __init__(self, producer: ImageProducer, stopping: threading.Event) -> None:
        super().__init__(producer.not_ready_because)
        self._producer = producer
        self._stopping = stopping
        self.watching: threading.Thread | None = None
        """Where the folder is watched, once it is and if any is."""

    def dead_because(self) -> str | None:
        """Why the process should be restarted, or None."""
        if self._producer.fatal_error:
            return self._producer.fatal_error
        # In this order: a watch that is told to stop between the two questions was alive at the first.
        if self.watching and not self.watching.is_alive() and not self._stopping.is_set():
            return "the folder watch has ended, though nobody stopped it; the log says why"
        return None

    def not_ready_because(self) -> str | None:
        """Why no picture could be stored now, or None."""
        return "draining: told to stop" if self.draining else self._producer.not_ready_because()


def run(settings: GatewaySettings) -> int:
    """Take in pictures until SIGTERM or SIGINT; the process's exit status (`ExitStatus`)."""
    tracing.configure(settings.trace, NAME)
    stopping = threading.Event()
    server: uvicorn.Server | None = None
    told_by: int | None = None

    def stop() -> None:
        stopping.set()
        if server is not None:
            server.should_exit = True

    def on_signal(number: int, _frame: FrameType | None) -> None:
        nonlocal told_by
        told_by = number  # told later: the signal may have interrupted the log itself, which holds a lock then
        stop()

    # Also because uvicorn, once drained, raises the signal again for the handler that stood before its own.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)

    door = settings.gateway
    with ImageProducer(settings, delivery_timeout_ms=door.delivery_timeout_ms, on_fatal=stop) as producer:
        vitals = GatewayVitals(producer, stopping)
        admin = AdminServer(settings.admin, vitals, NAME)
        admin.start()
        try:
            with _listen(door) as listening:
                vitals.watching = _watch(door, producer, stopping)
                certificate = _certificate(door, stopping)
                if door.tokens_file and certificate is None and door.host not in LOOPBACK:
                    log.warning(
                        "tokens_in_plain_text", remedy="set CHIPSIEVE_GATEWAY__SSL_CERTIFICATE, or end TLS before"
                    )
                server = _server(door, producer, certificate)
                log.info("listening", host=door.host, port=listening.getsockname()[1], admin_port=admin.port)
                if not stopping.is_set():
                    server.run(sockets=[listening])
        finally:
            stopping.set()
            vitals.draining = True
            if vitals.watching:
                vitals.watching.join()
            admin.close()
    tracing.shutdown()  # after the producer, whose last acknowledgements are told too
    if producer.fatal_error:
        return ExitStatus.FAILED
    log.info("drained", signal=signal.Signals(told_by).name if told_by else None)
    return ExitStatus.DRAINED


def _server(door: DoorSettings, producer: ImageProducer, certificate: Certificate | None) -> uvicorn.Server:
    config = uvicorn.Config(
        application(producer, door),
        http=HalfOpenProtocol,
        log_config=None,  # it logs like everything else here, …
        access_log=False,  # … but not every picture: the metrics count them
        server_header=False,
        h11_max_incomplete_event_size=HEAD_BYTES,
        timeout_graceful_shutdown=DRAIN_BUDGET_S,
    )
    if certificate:
        config.load()
        config.ssl = certificate.context  # one that can be renewed; uvicorn makes its own only from files
    return uvicorn.Server(config)


def _certificate(door: DoorSettings, stopping: threading.Event) -> Certificate | None:
    if door.ssl_certificate is None or door.ssl_key is None:
        return None
    certificate = Certificate(door.ssl_certificate, door.ssl_key)
    threading.Thread(target=certificate.follow, args=(stopping,), name="certificate", daemon=True).start()
    return certificate


def _listen(door: DoorSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in door.host else socket.AF_INET
    try:
        listening = socket.create_server((door.host, door.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigurationError(
            f"{door.host}:{door.port} cannot be opened: {error.strerror or error}; set CHIPSIEVE_GATEWAY__HOST and "
            "CHIPSIEVE_GATEWAY__PORT to a free one, or the port to 0 to have one chosen"
        ) from error
    # Accepted connections inherit it. asyncio sets it only on sockets it made itself; without it the second half of
    # every answer waits 40 ms for the sender's delayed acknowledgement of the first.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _watch(door: DoorSettings, producer: ImageProducer, stopping: threading.Event) -> threading.Thread | None:
    if door.watch_dir is None:
        return None
    watch = FolderWatch(
        door.watch_dir,
        line_id=door.watch_line or "",
        product=door.watch_product or "",
        deadline_ms=door.watch_deadline_ms,
        producer=producer,
    )
    thread = threading.Thread(target=watch.run, args=(stopping, door.watch_interval_ms / 1000), name="folder-watch")
    thread.start()
    return thread
