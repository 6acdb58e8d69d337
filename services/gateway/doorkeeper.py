"""Who may send pictures of which line, and how many a second. A changed file of tokens counts within a second."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import structlog

from services.gateway.errors import ForbiddenLine, RateLimited, Unauthorized
from services.gateway.tokens import ALL, Tokens, read_tokens
from shared.errors import ConfigurationError

LOOK_AGAIN_S = 1.0
LINES_REMEMBERED = 10_000  # more than any plant has; a sender that invents names must not fill the memory

log = structlog.get_logger(__name__)


class Doorkeeper:
    """Lets a request in or says why not. Used from the event loop alone.

    Args:
        tokens_file: who may send; None lets everybody.
        rate: pictures a second that a line may send in the long run; None sets no limit.
        burst: pictures that a line may send at once.
        clock: the time, monotonic, in seconds.

    Raises:
        ConfigurationError: the file of tokens cannot be read.
    """

    def __init__(
        self,
        tokens_file: Path | None,
        *,
        rate: float | None = None,
        burst: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file = tokens_file
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._looked_at = clock()
        self._changed_ns = _modified(tokens_file) if tokens_file else 0
        self._tokens: Tokens = read_tokens(tokens_file) if tokens_file else {}
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def authenticate(self, authorization: str | None) -> frozenset[str]:
        """The lines that the request's token is good for. Raises `Unauthorized`."""
        if self._file is None:
            return frozenset({ALL})
        self._look_again(self._file)
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthorized("this gateway asks for a token: send the header Authorization: Bearer TOKEN")
        # Found by its hash: how long that takes says nothing about how much of a guess was right.
        lines = self._tokens.get(hashlib.sha256(token.strip().encode()).hexdigest())
        if lines is None:
            raise Unauthorized("no such token: ask whoever runs the gateway for one (`chipsieve token LINE`)")
        return lines

    def admit(self, line_id: str, allowed: frozenset[str]) -> None:
        """Take one picture of a line. Raises `ForbiddenLine`, `RateLimited`."""
        if ALL not in allowed and line_id not in allowed:
            raise ForbiddenLine(f"this token is not good for line {line_id}: send with that line's own")
        if self._rate is None:
            return
        now = self._clock()
        left, since = self._buckets.pop(line_id, (float(self._burst), now))
        left = min(float(self._burst), left + (now - since) * self._rate)
        if left < 1.0:
            self._buckets[line_id] = (left, now)
            raise RateLimited(
                f"line {line_id} sends more than {self._rate:g} pictures a second: slow down, or raise "
                "CHIPSIEVE_GATEWAY__RATE_LIMIT",
                retry_after_s=(1.0 - left) / self._rate,
            )
        self._buckets[line_id] = (left - 1.0, now)
        while len(self._buckets) > LINES_REMEMBERED:
            self._buckets.popitem(last=False)

    def _look_again(self, file: Path) -> None:
        """Read a file that changed; one that cannot be read leaves what was known, and says so."""
        now = self._clock()
        if now - self._looked_at < LOOK_AGAIN_S:
            return
        self._looked_at = now
        try:
            if (changed_ns := _modified(file)) != self._changed_ns:
                self._tokens, self._changed_ns = read_tokens(file), changed_ns
                log.info("tokens_read", tokens=len(self._tokens))
        except ConfigurationError as error:
            log.error("tokens_not_read", reason=str(error))


def _modified(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError as error:
        raise ConfigurationError(f"CHIPSIEVE_GATEWAY__TOKENS_FILE is {file}, which cannot be read: {error}") from error
