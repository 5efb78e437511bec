"""Times on the command line."""

from datetime import UTC, datetime, timedelta

import pytest

from taskyard.cli.moments import moment_us

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def at(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("90s", timedelta(seconds=90)),
        ("30m", timedelta(minutes=30)),
        ("2h", timedelta(hours=2)),
        ("3d", timedelta(days=3)),
        ("1w", timedelta(weeks=1)),
    ],
)
def test_how_long_ago(text: str, ago: timedelta) -> None:
    assert moment_us(text, NOW) == at(NOW - ago)


def test_a_date_is_one_of_this_time_zone_unless_it_names_another() -> None:
    assert moment_us("2026-01-30", NOW) == at(datetime(2026, 1, 30).astimezone())
    assert moment_us("2026-01-30T08:00", NOW) == at(datetime(2026, 1, 30, 8).astimezone())
    assert moment_us("2026-01-30T08:00+00:00", NOW) == at(datetime(2026, 1, 30, 8, tzinfo=UTC))


@pytest.mark.parametrize("text", ["", "yesterday", "2", "2y", "-2h", "2 h", "999999999w", "2026-13-01"])
def test_what_is_neither_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no time"):
        moment_us(text, NOW)
