from datetime import UTC, datetime, timedelta

import pytest

from services.cli.times import parse_time
from shared.errors import ConfigurationError

NOW = datetime(2026, 11, 24, 16, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        (None, None),
        ("90s", NOW - timedelta(seconds=90)),
        ("15m", NOW - timedelta(minutes=15)),
        ("2h", NOW - timedelta(hours=2)),
        ("3d", NOW - timedelta(days=3)),
        ("2026-11-24T12:00:00Z", NOW.replace(hour=12, minute=0)),
        ("2026-11-24T13:00:00+01:00", NOW.replace(hour=12, minute=0)),
        ("2026-11-24T12:00", NOW.replace(hour=12, minute=0)),
    ],
)
def test_a_time_is_a_span_ago_or_a_point(text: str | None, instant: datetime | None):
    assert parse_time(text, NOW, "--since") == instant


@pytest.mark.parametrize("text", ["", "yesterday", "5", "5w", "-5m", "99999999999d", f"{9**400}h", "9999999d"])
def test_a_time_refuses_anything_else(text: str):
    with pytest.raises(ConfigurationError, match="--until"):
        parse_time(text, NOW, "--until")
