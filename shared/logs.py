"""What a process writes to its log: one line an event."""

import logging
import sys
from contextlib import suppress
from typing import TextIO, cast

import structlog
from structlog.typing import Processor

from shared.settings import LogSettings


def configure_logs(settings: LogSettings, **context: str) -> None:
    """Log to standard error: JSON, or readable lines where that is a terminal (`format="auto"`).

    `context` (for instance ``stage="matcher"``) is part of every line. What libraries log comes out the same way, from
    warnings on.
    """
    readable = settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())
    both: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        lambda _logger, _name, event: {**context, **event},
    ]
    # A traceback without what the functions held: passwords, tokens and pictures are among it.
    tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    rendering: list[Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if readable
        else [structlog.processors.ExceptionRenderer(tracebacks), structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*both, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(settings.level)),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", _AsFarAsItGoes(sys.stderr))),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_OncePerSecond())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*both, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel("WARNING")


class _AsFarAsItGoes:
    """A stream that leaves out what cannot be written, as `logging` does: a full disk, or a reader of the log that has
    gone, must end no service."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


class _OncePerSecond(logging.Filter):
    """Of the same kind of line by the same logger only one a second: while a broker is away, librdkafka logs a refused
    connection dozens of times a second for each of its threads."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        kind = (record.name, record.getMessage().partition(" ")[0])
        if 0.0 <= record.created - self._last.get(kind, 0.0) < 1.0:  # less where the clock was set back
            return False
        self._last[kind] = record.created
        return True
