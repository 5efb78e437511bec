"""Log records to store in tests, by the day on which they come."""

from typing import Any

from support.storage_rows import NOW_US

from taskyard_controlplane.storage.interface import DAY_US, LogRow, Reader, day_of

MIB = 1 << 20
TODAY = day_of(NOW_US)


def at(day: int, number: int = 0) -> int:
    """Return the number of a record that comes so many days after today."""
    return (TODAY + day) * DAY_US + DAY_US // 2 + number


def record(log_id: int, seq: int = 2, flow_seq: int | None = 1, text: str = "", **changes: Any) -> LogRow:
    return LogRow(seq, flow_seq, log_id // 2, 20, "tests", text or str(log_id), log_id)._replace(**changes)


def ids(reader: Reader, seq: int = 2, after: int = 0, limit: int = 100, **options: Any) -> list[int]:
    """Return the numbers of the records in a page of a log."""
    return [found.log_id for found in reader.logs(seq, after, limit, MIB, **options)]
