"""When flows are to run, as values: `Cron`, `Interval` and `RRule` make them.

A `Schedule` can be made, compared and kept. Nothing runs by one yet: deploying and serving flows raises
`taskyard.exceptions.NotSupported`.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from taskyard._missing_features import absent_names

__all__ = ["Cron", "Interval", "RRule", "Schedule"]


@dataclass(frozen=True)
class Schedule:
    """When a flow is to run: in intervals, by a line of cron, or by a recurrence rule."""

    interval: timedelta | None = None
    cron: str | None = None
    rrule: str | None = None
    timezone: str | None = None
    anchor_date: datetime = field(default_factory=lambda: datetime.now(UTC))
    """What intervals are counted from."""
    day_or: bool = False
    """Whether a day of the month, or of the week, is enough, where cron has both."""
    active: bool | None = True
    parameters: dict[str, Any] = field(default_factory=dict)
    slug: str | None = None
    """Tells it apart from the others of a deployment."""

    def __post_init__(self) -> None:
        given = [name for name in ("interval", "cron", "rrule") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"a schedule has one of interval, cron and rrule, got {' and '.join(given)}")
        if self.interval is not None and self.interval <= timedelta():
            raise ValueError(f"'interval' must be longer than nothing, got {self.interval}")


def Cron(  # noqa: N802  # the name that programs know
    cron: str,
    /,
    timezone: str | None = None,
    day_or: bool = True,
    active: bool | None = True,
    parameters: dict[str, Any] | None = None,
    slug: str | None = None,
) -> Schedule:
    """Make a schedule of a line of cron, such as ``"0 12 * * 1-5"``.

    Args:
        cron: The line.
        timezone: The one whose clock counts, such as ``"Europe/Paris"``.
        day_or: Whether a day of the month, or of the week, is enough, where there are both.
        active: Whether it is in force.
        parameters: Arguments of the runs, by name.
        slug: Tells it apart from others.
    """
    return Schedule(
        cron=cron, timezone=timezone, day_or=day_or, active=active, parameters=parameters or {}, slug=slug
    )


def Interval(  # noqa: N802  # the name that programs know
    interval: timedelta | float,
    /,
    anchor_date: datetime | None = None,
    timezone: str | None = None,
    active: bool | None = True,
    parameters: dict[str, Any] | None = None,
    slug: str | None = None,
) -> Schedule:
    """Make a schedule of runs with the same time between them.

    Args:
        interval: The time, in seconds if it is a number.
        anchor_date: What it is counted from; now when left out.
        timezone: The one whose days count.
        active: Whether it is in force.
        parameters: Arguments of the runs, by name.
        slug: Tells it apart from others.

    Raises:
        ValueError: The time is not longer than nothing.
    """
    return Schedule(
        interval=interval if isinstance(interval, timedelta) else timedelta(seconds=interval),
        anchor_date=anchor_date or datetime.now(UTC),
        timezone=timezone,
        active=active,
        parameters=parameters or {},
        slug=slug,
    )


def RRule(  # noqa: N802  # the name that programs know
    rrule: str,
    /,
    timezone: str | None = None,
    active: bool | None = True,
    parameters: dict[str, Any] | None = None,
    slug: str | None = None,
) -> Schedule:
    """Make a schedule of a recurrence rule (RFC 5545), such as ``"FREQ=WEEKLY;BYDAY=MO"``.

    Args:
        rrule: The rule.
        timezone: The one whose clock counts.
        active: Whether it is in force.
        parameters: Arguments of the runs, by name.
        slug: Tells it apart from others.
    """
    return Schedule(rrule=rrule, timezone=timezone, active=active, parameters=parameters or {}, slug=slug)


if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
