"""A clock for what asks only how long something takes."""


class TurnedClock:
    """A clock the test turns."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def now_us(self) -> int:
        return 0

    def monotonic(self) -> float:
        return self.seconds
