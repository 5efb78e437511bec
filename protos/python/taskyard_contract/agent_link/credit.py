"""Credit as a cumulative count. Pure.

Both ends count from zero when a stream opens, so a lost frame, a broken stream or a restarted server can
neither create nor leak a slot. The count falls only when runs turn out to be much slower than thought: what
the server has not used of it is then taken back.
"""


class CreditLedger:
    """What was asked for and what came, on one stream."""

    def __init__(self) -> None:
        """Nothing was asked for yet, and nothing came; one ledger per stream."""
        self._received = 0
        self._granted = 0

    @property
    def granted(self) -> int:
        """The total that was announced last."""
        return self._granted

    @property
    def unused(self) -> int:
        """Runs the server may still send."""
        return self._granted - self._received

    def received(self, runs: int) -> None:
        """Count runs that were assigned."""
        self._received += runs

    def advance(self, in_hand: int, window: int, slots: int) -> int | None:
        """Return the new total to announce, or None when it is not worth a mention.

        Args:
            in_hand: Runs held that take up room.
            window: Runs to hold at most.
            slots: Workers.
        """
        unused = self._granted - self._received
        freed = (window - in_hand if in_hand < window else 0) - unused
        if freed <= 0:
            worth = unused > 2 * window
        else:
            # A handful of credits would come back as a handful of runs, each with the cost of a frame. It is
            # worth it only when the workers are about to run dry and the server has nothing left to draw on.
            worth = freed * 4 >= window or (in_hand < 2 * slots and unused < slots)
        if not worth:
            return None
        self._granted += freed
        return self._granted
