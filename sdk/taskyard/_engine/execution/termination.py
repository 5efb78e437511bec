"""SIGTERM while the body of a flow runs: the run is ended in order, and not only its process."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from taskyard._engine.execution.interrupts import in_main_thread, send, soon
from taskyard.exceptions import TerminationSignal
from taskyard_contract.programs.forking import TerminationHold
from taskyard_contract.programs.uninterrupted import is_uninterrupted


@contextmanager
def catch_termination(on_signal: Callable[[int], None] | None = None) -> Iterator[bool]:
    """Turn SIGTERM into `TerminationSignal`, or a call, where the program has no handler of its own.

    Yields:
        Whether this block is the one that does it: not in other threads, and not inside another block.
    """
    if not in_main_thread() or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield False
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if is_uninterrupted(frame):
            soon(lambda: send(number))
        elif on_signal is not None:
            on_signal(number)
        else:
            raise TerminationSignal(number)

    global _termination_handler
    _termination_handler = handle
    signal.signal(signal.SIGTERM, handle)
    try:
        yield True
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _termination_handler = None


_termination_handler: Callable[[int, FrameType | None], None] | None = None


_hold: Final = TerminationHold()


def _before_fork() -> None:
    if _termination_handler is not None:
        _hold.begin()


def _after_fork_in_child() -> None:
    # A child of the flow's body is ended as any child: pools of processes end theirs by SIGTERM.
    if _termination_handler is not None and signal.getsignal(signal.SIGTERM) is _termination_handler:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _hold.end()


os.register_at_fork(before=_before_fork, after_in_parent=_hold.end, after_in_child=_after_fork_in_child)


def exit_code_of(number: int) -> int:
    """Return the exit code by which shells know that a signal ended a program."""
    return 128 + number
