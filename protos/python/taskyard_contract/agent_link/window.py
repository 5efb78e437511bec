"""How much work to ask for: a window bounded by time, not by count. Pure arithmetic.

A window of a few runs makes quick runs wait for round trips; a large one strands slow runs behind each
other. So the window is `TARGET_SECONDS` of work as measured, at most doubled with each measurement, and
just the slots when runs take long.
"""

from typing import Final

TARGET_SECONDS: Final = 0.035
"""Work in hand for each slot: many round trips' worth, so that none is waited for, and soon done."""
CHUNK_SECONDS: Final = 0.0035
"""Work in one chunk: long beside what a frame costs, short beside what somebody waits for a first result."""
MAX_WINDOW: Final = 2048
"""However many slots there are and however quick runs are: what is in hand is repeated if the agent dies."""
MAX_CHUNK: Final = 256
"""Among so many runs the cost of a frame does not show any more."""
NEVER_PREFETCH_SECONDS: Final = 1.0
"""Beside runs of this length a round trip is nothing, and another agent may have a slot free for the next."""
PIPELINE_SECONDS: Final = 0.02
"""Longer chunks are worth no second one behind them: the pause between two does not show."""
STRANDED_SECONDS: Final = 1.0
"""Work in hand for each slot that is more than any breath of the window: others should do some of it."""
_MEMORY_QUICKER: Final = 4
"""Runs after which quicker ones count as much as the past. Few: first runs are slow, they import things."""
_MEMORY_SLOWER: Final = 32
"""The same for slower ones. Many: one slow run among quick ones must not collapse the window."""


class WindowSizer:
    """Measures runs and sizes the window of one agent."""

    def __init__(self, slots: int) -> None:
        """Start with one run for each slot."""
        self._slots = max(1, slots)
        self._mean: float | None = None
        """How many seconds a run takes at the moment; None before the first one."""
        self._window = self._slots
        self._chunk = 1

    @property
    def window(self) -> int:
        """Runs to have in hand at most."""
        return self._window

    @property
    def chunk_size(self) -> int:
        """Runs to have in one chunk at most."""
        return self._chunk

    def stranded(self, in_hand: int) -> int:
        """Return how many of the runs in hand somebody else should have.

        Not every run beyond the window: the window breathes, and what the workers will get to within a
        moment is best left where it is.
        """
        if self._mean is None or in_hand * self._mean / self._slots <= STRANDED_SECONDS:
            return 0
        return max(0, in_hand - self._window)

    @property
    def pipelined(self) -> bool:
        """Whether runs are so quick that a worker should have its next chunk before it asks."""
        return self._mean is not None and self._chunk * self._mean <= PIPELINE_SECONDS

    def ended(self, runs: int, busy_seconds: float) -> None:
        """Take in that `runs` took `busy_seconds` together; may grow the window."""
        if runs <= 0:
            return
        each = busy_seconds / runs
        if self._mean is None:
            self._mean = each
        else:
            memory = _MEMORY_QUICKER if each < self._mean else _MEMORY_SLOWER
            self._mean += (each - self._mean) * runs / (runs + memory)
        self._resize(self._window * 2, self._mean)

    def running(self, seconds: float) -> None:
        """Take in that a run has been executing for so long and has not ended; may shrink the window."""
        if self._mean is None or seconds >= max(self._mean, NEVER_PREFETCH_SECONDS):
            self._mean = seconds
            self._resize(self._window, seconds)
        elif seconds > self._mean:
            # One slow run among many quick ones: what the mean would become if it ended now. Not kept,
            # because the same run is told again and again while it goes on.
            self._resize(self._window, (self._mean * _MEMORY_SLOWER + seconds) / (_MEMORY_SLOWER + 1))

    def _resize(self, most: int, mean: float) -> None:
        mean = max(mean, 1e-7)
        prefetch = 0 if mean >= NEVER_PREFETCH_SECONDS else int(self._slots * TARGET_SECONDS / mean)
        self._window = max(self._slots, min(self._slots + prefetch, most, MAX_WINDOW))
        # Half of a fair share, so that each worker can execute one chunk while the next one waits.
        share = -(-self._window // (2 * self._slots))
        self._chunk = max(1, min(int(CHUNK_SECONDS / mean), share, MAX_CHUNK))
