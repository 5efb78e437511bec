"""Tracebacks as people want to read them: the frames of their own code, without those of what executes it.

Folded are frames of Taskyard, wherever they are, and those of asyncio and of threads that stand between it
and the code of the user, or above all of that. What consists of nothing else is left as it is: then it is a
defect of Taskyard, and these frames say where.
"""

import traceback
from collections.abc import Iterable
from types import TracebackType
from typing import Final

_OWN: Final = ("taskyard.", "taskyard_agent.", "taskyard_contract.")
_MACHINERY: Final = ("asyncio.", "concurrent.futures.", "contextlib", "threading")
"""What Taskyard executes code by. Called by users themselves, it is theirs."""


def text_of(error: BaseException) -> str:
    """Return an exception with its traceback as text; those it was raised from are not in it."""
    told = traceback.TracebackException(type(error), error, error.__traceback__)
    _fold_told(told, error)
    return "".join(told.format(chain=False))


def fold(error: BaseException) -> None:
    """Take frames that say nothing out of the traceback of an exception that is about to be raised on."""
    frames = list(_frames(error.__traceback__))
    kept = [frame for frame, said in zip(frames, _saying(frames), strict=True) if said]
    for frame, following in zip(kept, [*kept, None][1:], strict=True):
        frame.tb_next = following
    error.__traceback__ = kept[0] if kept else None


def _fold_told(told: traceback.TracebackException, error: BaseException) -> None:
    frames = list(_frames(error.__traceback__))
    said = _saying(frames)
    if any(said) and len(said) == len(told.stack):
        told.stack[:] = [line for line, kept in zip(told.stack, said, strict=True) if kept]
    inside = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    for each, inner in zip(told.exceptions or (), inside, strict=False):
        _fold_told(each, inner)


def _frames(frames: TracebackType | None) -> Iterable[TracebackType]:
    while frames is not None:
        yield frames
        frames = frames.tb_next


def _saying(frames: Iterable[TracebackType]) -> list[bool]:
    """Say of each frame whether it says something to who wrote the code."""
    said, after_own = [], True
    for frame in frames:
        module = str(frame.tb_frame.f_globals.get("__name__", ""))
        after_own = module.startswith(_OWN) or (after_own and module.startswith(_MACHINERY))
        said.append(not after_own)
    return said
