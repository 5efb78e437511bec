"""What open runs said last of their progress: for people, and for their next attempts.

In memory only. Invariant: a run has one word at most, none once it has ended, and all of them together stay
below a limit: beyond it, those are forgotten that were said first.
"""

from typing import Final

from taskyard_api.v1 import agent_service_pb2 as pb

MOST_BYTES: Final = 32 * 1024 * 1024
"""Of details. Most runs say a number or two, and may be asked to say where more of it is."""


class ProgressOfRuns:
    """The last word of each run, by id."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        """Know of nothing."""
        self._most_bytes = most_bytes
        self._words: dict[bytes, pb.RunProgress] = {}  # the one that was said first comes first
        self._bytes = 0

    def __len__(self) -> int:
        """Return how many runs have said something; nearly always none, which is quickly asked."""
        return len(self._words)

    def note(self, run_id: bytes, progress: pb.RunProgress) -> None:
        """Keep what a run says, in the place of what it said before."""
        self.forget(run_id)
        self._words[run_id] = progress
        self._bytes += len(progress.details.data)
        while self._bytes > self._most_bytes:
            self.forget(next(iter(self._words)))

    def of(self, run_id: bytes) -> pb.RunProgress | None:
        """Return what a run said last."""
        return self._words.get(run_id)

    def forget(self, run_id: bytes) -> None:
        """Forget what a run said: it has ended."""
        progress = self._words.pop(run_id, None)
        if progress is not None:
            self._bytes -= len(progress.details.data)
