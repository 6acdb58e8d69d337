"""Times as people give them to a command."""

import re
from datetime import UTC, datetime, timedelta

from shared.errors import ConfigurationError

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_time(text: str | None, now: datetime, option: str) -> datetime | None:
    """``15m``, ``2h``, ``3d`` before now, or a time in ISO 8601 (UTC where it names no zone).

    Raises `ConfigurationError` for anything else, naming the option.
    """
    if text is None:
        return None
    try:
        if ago := re.fullmatch(r"(\d+)([smhd])", text):
            return now - timedelta(**{UNITS[ago[2]]: int(ago[1])})
        instant = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:  # too many days to be told
        raise ConfigurationError(f"{option} {text}: give 15m, 2h, 3d, or a time like 2026-11-24T16:00:00Z") from error
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
