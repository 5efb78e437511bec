"""Times as people write them on a command line: how long ago, or when."""

import re
from datetime import datetime, timedelta
from typing import Final

from taskyard_contract.for_people.durations import seconds_of

_AGO: Final = re.compile(r"\d+[a-z]")


def moment_us(text: str, now: datetime) -> int:
    """Return a moment, in microseconds since the epoch.

    Args:
        text: A number and a unit (``90s``, ``30m``, ``2h``, ``3d``, ``1w``) before now, or a date, with or
            without a time, in this machine's time zone unless it names another: ``2026-01-31``,
            ``2026-01-31T08:00``, ``2026-01-31T08:00+01:00``.
        now: The time, with its zone.

    Raises:
        ValueError: It is neither.
    """
    ago = _AGO.fullmatch(text)
    try:
        if ago is not None:
            moment = now - timedelta(seconds=seconds_of(text))
        else:
            moment = datetime.fromisoformat(text).astimezone()
        return max(1, round(moment.timestamp() * 1_000_000))
    except (ValueError, OverflowError):
        raise ValueError(
            f"'{text}' is no time; write how long ago (90s, 30m, 2h, 3d, 1w) or when (2026-01-31T08:00)"
        ) from None
