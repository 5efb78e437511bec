"""The standard streams of this program, for what it shows of other processes.

Who writes here is the thread that brings results. So whatever is wrong with a stream (nobody reads it any
more, its disk is full, it is closed, it cannot say a character) is said once and harms nobody.
"""

import logging
import re
import sys
from typing import Any, Final

from taskyard.logging.loggers import configure
from taskyard.logging.prints import PrintCapture
from taskyard_contract.states import OutputStream

NAMES: Final = {int(OutputStream.STDOUT): "output", int(OutputStream.STDERR): "error"}
_LINES: Final = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
"""With their ends; what a carriage return begins is drawn over what was there, and is a line, too."""

logger = logging.getLogger("taskyard.output")


class Streams:
    """Standard output and error, whatever they are at the moment."""

    def __init__(self) -> None:
        """Take both for whole."""
        self._broken: set[int] = set()

    def write(self, stream: int, text: str) -> None:
        """Write at once, as far as that is possible."""
        target = _target(stream)
        if target is None:
            return  # the program was started without
        try:
            _write(target, text)
        except (OSError, ValueError) as error:  # the latter of a closed one
            self._say_broken(stream, error)
        else:
            self._broken.discard(stream)

    def meet(self) -> bool:
        """Whether both are seen in one place, a terminal."""
        try:
            return all(_target(stream).isatty() for stream in NAMES)
        except (AttributeError, ValueError):  # one is missing, or closed
            return False

    def _say_broken(self, stream: int, error: Exception) -> None:
        if stream not in self._broken:
            self._broken.add(stream)
            configure()
            logger.warning(
                "output of runs is not shown: standard %s takes nothing (%s: %s)",
                NAMES[stream],
                type(error).__name__,
                error,
            )


def _target(stream: int) -> Any:
    if NAMES[stream] == "error":
        return sys.stderr
    # A run of this process may have its own prints logged, and these are not its own.
    return sys.stdout.real if type(sys.stdout) is PrintCapture else sys.stdout


def _write(target: Any, text: str) -> None:
    try:
        target.write(text)
    except UnicodeEncodeError as error:  # nothing of it was written
        target.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding))
    target.flush()


def prefixed(text: str, name: str, goes_on: bool) -> str:
    """Return a text with a name before each line; the first one has it already if it `goes_on`."""
    lines = _LINES.findall(text)
    first = lines[:1] if goes_on else [f"{name} | {line}" for line in lines[:1]]
    return "".join([*first, *(f"{name} | {line}" for line in lines[1:])])
