"""How much of what one run logs is kept."""

from typing import Final, NamedTuple


class LogLimits(NamedTuple):
    """Most records of a run, and most bytes of text."""

    max_records: int = 100_000
    max_bytes: int = 64 * 1024 * 1024

    def reached(self) -> str:
        """Say, as the last record of a run, that there are no more."""
        return (
            f"this run has logged {self.max_records} records or {self.max_bytes} bytes, as much as is kept "
            "of a run; what it logs from here on is left out"
        )


DEFAULT_LOG_LIMITS: Final = LogLimits()
