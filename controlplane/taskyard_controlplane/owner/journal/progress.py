"""What open runs said last of their progress: for people, and for their next attempts.

In memory only. Invariant: a run has one word at most, none once it has ended, and all of them together stay
below a limit: beyond it, those are forgotten that were said first.
"""

from typing import Final

from taskyard_api.v1 import common_pb2

MOST_BYTES: Final = 32 * 1024 * 1024
"""Of details as they are kept. Most runs say a number or two, and may be asked to say where more of it is."""


class ProgressOfRuns:
    """The last word of each run, by id."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        """Know of nothing."""
        self._most_bytes = most_bytes
        # Serialised: a part of a message would keep the whole frame in memory that it came with. The one that
        # was said first comes first.
        self._words: dict[bytes, bytes] = {}
        self._bytes = 0

    def __len__(self) -> int:
        """Return how many runs have said something; nearly always none, which is quickly asked."""
        return len(self._words)

    def note(self, run_id: bytes, details: common_pb2.Payload) -> None:
        """Keep what a run says, in the place of what it said before."""
        self.forget(run_id)
        word = self._words[run_id] = details.SerializeToString()
        self._bytes += len(word)
        while self._bytes > self._most_bytes:
            self.forget(next(iter(self._words)))

    def of(self, run_id: bytes) -> bytes | None:
        """Return what a run said last: a serialised `Payload`."""
        return self._words.get(run_id)

    def forget(self, run_id: bytes) -> None:
        """Forget what a run said: it has ended."""
        word = self._words.pop(run_id, None)
        if word is not None:
            self._bytes -= len(word)
