"""Removes what runs logged, by the day. The log store has a writer of its own, so nothing waits for it."""

from taskyard_controlplane.owner.logs.writer import LogWriter
from taskyard_controlplane.owner.retention.runs import Removed
from taskyard_controlplane.storage.interface.logs import DAY_US, LogDay


class LogRemoval:
    """Removes days of a log store. The day that is being written always stays."""

    def __init__(self, logs: LogWriter) -> None:
        """Remove what `logs` has written."""
        self._logs = logs

    async def size(self) -> int:
        """Return how many bytes the log store takes."""
        return sum(day.size for day in await self._logs.usage())

    async def ended_before(self, time_us: int) -> list[LogDay]:
        """Return the days that have ended before some time, oldest first."""
        return [day for day in await self._logs.usage() if day.begins_us + DAY_US <= time_us]

    async def days_before(self, time_us: int, removed: Removed) -> None:
        """Remove the days that have ended before some time, and count what they took."""
        if time_us > 0:
            removed.log_bytes += sum(day.size for day in await self._logs.remove_before(time_us))

    async def oldest(self, size: int, removed: Removed) -> int:
        """Remove the oldest days until some bytes are free, if there are so many; returns how many are."""
        freed = 0
        for day in await self._logs.usage():
            if freed >= size:
                break
            freed += sum(gone.size for gone in await self._logs.remove_before(day.begins_us + DAY_US))
        removed.log_bytes += freed
        return freed
