"""The gateway's certificate, taken anew from its files when they change."""

import ssl
import threading
from pathlib import Path

import structlog

from shared.errors import ConfigurationError

LOOK_AGAIN_S = 10.0

log = structlog.get_logger(__name__)


class Certificate:
    """A context for the server's sockets; its certificate is that of the files, for each new connection.

    Raises:
        ConfigurationError: the files are no certificate and its key.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = (certificate, key)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            self._read_at = self._modified()
            self._load()
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(
                f"{certificate} and {key} are no certificate and its key ({error}): correct "
                "CHIPSIEVE_GATEWAY__SSL_CERTIFICATE and CHIPSIEVE_GATEWAY__SSL_KEY"
            ) from error

    def follow(self, stopped: threading.Event, every_s: float = LOOK_AGAIN_S) -> None:
        """Look again until told to stop."""
        while not stopped.wait(every_s):
            self.look_again()

    def look_again(self) -> None:
        """Take files that changed; what cannot be read yet is tried again the next time."""
        try:
            if (modified := self._modified()) != self._read_at:
                self._load()
                self._read_at = modified
                log.info("certificate_read", file=str(self._files[0]))
        except (OSError, ssl.SSLError) as error:
            log.error("certificate_not_read", file=str(self._files[0]), reason=str(error))

    def _load(self) -> None:
        # First elsewhere: a certificate without its key would leave the context with neither.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*self._files)
        self.context.load_cert_chain(*self._files)

    def _modified(self) -> tuple[int, ...]:
        return tuple(file.stat().st_mtime_ns for file in self._files)
