"""What a property that fails may cost: seconds, not the minutes Hypothesis takes to make it still smaller.

An example that hangs would cost the most: whatever ends it, a time limit of pytest as well, is a failure to
Hypothesis, which it plays again. So a hang ends the test with what Hypothesis does not catch.
"""

import asyncio
import signal
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final

from hypothesis.internal.conjecture import engine

SHRINKING_SECONDS: Final = 10
"""For making an example smaller: most of what can be had is had by then."""
EXAMPLE_SECONDS: Final = 10.0
"""For one example, which takes milliseconds unless something hangs; it is played again to be told."""
_BLOCKED_SECONDS: Final = EXAMPLE_SECONDS + 2
_AGAIN_SECONDS: Final = 2.0
_ARMED = threading.Event()


class Blocked(BaseException):
    """An example did not let its event loop go on; the traceback says where it was."""


def bound_shrinking(seconds: float = SHRINKING_SECONDS) -> None:
    """Let Hypothesis take no longer to make an example smaller. There is no setting for it.

    It says then that this took five minutes, whatever the bound is.
    """
    engine.MAX_SHRINKING_SECONDS = seconds  # type: ignore[assignment]


def play_example(example: Coroutine[Any, Any, None]) -> None:
    """Play one example on a loop of its own; one that hangs fails."""
    with not_blocked():
        asyncio.run(asyncio.wait_for(example, EXAMPLE_SECONDS))


def run_on(loop: asyncio.AbstractEventLoop, step: Coroutine[Any, Any, Any]) -> Any:
    """Play one step of an example on the loop of that; one that hangs fails."""
    with not_blocked():
        return loop.run_until_complete(asyncio.wait_for(step, EXAMPLE_SECONDS))


@contextmanager
def not_blocked(seconds: float = _BLOCKED_SECONDS) -> Iterator[None]:
    """Interrupt what takes so long that no time limit of the event loop can end it.

    Raises:
        Blocked: It took too long.
    """
    signal.signal(signal.SIGUSR1, _interrupt)  # for good: the last signal may be late
    over = threading.Event()
    watch = threading.Thread(target=_watch, args=(over, seconds), daemon=True)
    _ARMED.set()
    watch.start()
    try:
        yield
    finally:
        _ARMED.clear()
        over.set()


def _watch(over: threading.Event, seconds: float) -> None:
    # More than once: what ends a loop may hang as well, and a task that is interrupted only fails.
    while not over.wait(seconds):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        seconds = _AGAIN_SECONDS


def _interrupt(_signal: int, _frame: object) -> None:
    if _ARMED.is_set():
        raise Blocked("an example hangs, and blocks its event loop, where the traceback ends")
