"""Code that nothing may end in the middle: what it does is done whole, or the program would wait for ever.

An exception that a signal's handler raises, or that is set for another thread, comes between any two
instructions. It ends a flow's body, as it is meant to; but a run that is half submitted has arguments of
another one, and a run that is handed over to nobody is waited for. Whoever raises looks at the frame first
(`is_uninterrupted`), and comes again a little later. The marked code itself costs nothing.
"""

import gc
import weakref
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, Final, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

SOON_SECONDS: Final = 0.001
"""After how long somebody comes again: marked code takes microseconds, and never waits for anything."""
_OF_WEAK_REFERENCES: Final = frozenset({weakref.__file__, weakref.WeakSet.__init__.__code__.co_filename})
_marked: dict[CodeType, bool] = {}


def uninterrupted(function: F) -> F:
    """Let a function, and what it calls, end before anything is raised in it."""
    _marked[function.__code__] = True
    return function


def interruptible(function: F) -> F:
    """Let something be raised in a function that waits, though marked code calls it."""
    _marked[function.__code__] = False
    return function


def is_uninterrupted(frame: FrameType | None) -> bool:
    """Say whether nothing may be raised where this frame is: the innermost mark around it decides.

    Nor is anything raised where Python would only print it: in finalizers, in callbacks of weak references
    and of the collector of garbage.
    """
    collecting = [getattr(callback, "__code__", None) for callback in gc.callbacks]
    while frame is not None:
        code = frame.f_code
        mark = _marked.get(code)
        if mark is not None:
            return mark
        if code.co_name == "__del__" or code.co_filename in _OF_WEAK_REFERENCES or code in collecting:
            return True
        frame = frame.f_back
    return False
