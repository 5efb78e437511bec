"""How far something is, in one line: numbers, how fast it goes, how long it may still take.

Pure: whoever shows a line says what the time is, and how much room there is.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

WINDOW_SECONDS: Final = 15.0
"""How far back the rate looks: long enough to be steady, short enough to follow what changes."""
SETTLED_SECONDS: Final = 2.0
"""No time left is told of something that has become more since: it may go on growing."""
LEAST_LABEL: Final = 8
CUT: Final = "…"

_QUICK: Final = 5.0
"""Where so many end in a second, and none is seen running, they are too quick to be seen."""

_DIM: Final = "2"
_BOLD: Final = "1"
_CYAN: Final = "36"
_RED: Final = "31"


class Counts(NamedTuple):
    """How far some runs are."""

    total: int
    ended: int
    failed: int = 0
    """Of those that have ended."""
    running: int | None = None
    """None where nobody knows."""

    @property
    def open(self) -> int:
        """How many have not ended."""
        return max(0, self.total - self.ended)

    @property
    def waiting(self) -> int:
        """How many have not ended, and are not executed."""
        return max(0, self.open - (self.running or 0))


class Pace:
    """How fast runs end, over the last seconds."""

    def __init__(self, now: float) -> None:
        """Begin at a time, in seconds that never jump."""
        self._marks: deque[tuple[float, int]] = deque([(now, 0)])
        self._total, self._grown_at = 0, now

    def note(self, now: float, counts: Counts) -> None:
        """Note how far they are now."""
        if counts.total != self._total:
            self._total, self._grown_at = counts.total, now
        marks = self._marks
        marks.append((now, max(counts.ended, marks[-1][1])))
        while len(marks) > 2 and marks[1][0] <= now - WINDOW_SECONDS:
            marks.popleft()

    def begin_at(self, now: float, ended: int) -> None:
        """Have the rate begin with what had ended by then: that is none of its work."""
        self._marks = deque([(now, ended)])

    @property
    def per_second(self) -> float:
        """How many end in a second; 0 while nothing has."""
        (begun, before), (now, ended) = self._marks[0], self._marks[-1]
        return (ended - before) / (now - begun) if now > begun else 0.0

    def seconds_left(self, counts: Counts) -> float | None:
        """Return how long the rest will take if it goes on like this; None when that cannot be said."""
        rate, now = self.per_second, self._marks[-1][0]
        if not rate or not counts.open or now - self._grown_at < SETTLED_SECONDS:
            return None
        return counts.open / rate


def line(
    label: str, counts: Counts, pace: Pace, width: int, *, detail: str = "", colours: bool = True
) -> str:
    """Return a line that takes at most `width` columns; what matters least goes first where that is little.

    Args:
        label: Whose runs these are.
        counts: How far they are.
        pace: How fast that goes.
        width: How many columns there are.
        detail: What they are at the moment, the name of a task.
        colours: Whether to use them.
    """
    label = f"{label}: {detail}" if detail else label
    parts = _parts(counts, pace)
    for left_out in ((), ("rate",), ("rate", "waiting"), ("rate", "waiting", "running"), tuple(_OPTIONAL)):
        shown = [part for part in parts if part.name not in left_out]
        room = width - sum(len(part.text) for part in shown) - 2 * len(shown) + 1
        if room >= min(len(label), max(LEAST_LABEL, width // 5)):
            break
    else:
        shown = [part for part in parts if part.name == "done"]
        room = width - len(shown[0].text) - 1
    texts = ", ".join(_coloured(part.text, part.colour if colours else "") for part in shown)
    if room < 2:
        return texts if len(shown[0].text) <= width and len(shown) == 1 else ""
    return f"{_coloured(shortened(label, room), _BOLD if colours else '')} {texts}"


class _Part(NamedTuple):
    name: str
    text: str
    colour: str = ""


_OPTIONAL: Final = ("rate", "waiting", "running", "left")


def _parts(counts: Counts, pace: Pace) -> Sequence[_Part]:
    parts = [_Part("done", f"{counts.ended:,}/{counts.total:,} done")]
    if counts.failed:
        parts.append(_Part("failed", f"{counts.failed:,} failed", _RED))
    if counts.running or (counts.running == 0 and pace.per_second < _QUICK):
        parts.append(_Part("running", f"{counts.running:,} running", _CYAN))
    if counts.open:
        parts.append(
            _Part("waiting", f"{counts.waiting:,} {'open' if counts.running is None else 'waiting'}")
        )
    if pace.per_second:
        parts.append(_Part("rate", rate_text(pace.per_second), _DIM))
    left = pace.seconds_left(counts)
    if left is not None:
        parts.append(_Part("left", f"{time_text(left)} left"))
    return parts


def _coloured(text: str, colour: str) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m" if colour else text


def shortened(text: str, width: int) -> str:
    """Return a text that is cut where it is too long, and is seen to be."""
    text = "".join(one if one.isprintable() else "?" for one in text)
    return text if len(text) <= width else text[: max(0, width - 1)] + CUT


def rate_text(per_second: float) -> str:
    """Return how fast something goes, in the unit that people would take: '420/s', '3.2/s', '12/min'."""
    if per_second >= 10:
        return f"{per_second:,.0f}/s"
    if per_second >= 0.5:
        return f"{per_second:.1f}/s"
    if per_second >= 0.05:
        return f"{per_second * 60:.0f}/min"
    return f"{per_second * 3600:.0f}/h"


def time_text(seconds: float) -> str:
    """Return a time that is left, as exact as it can be meant: '12 s', '3:07', '1:02:03', '5 days'."""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d}"
    if whole < 100 * 3600:
        return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"
    return f"{whole // 86400:,} days"
