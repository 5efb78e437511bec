"""What keeps the loop of a lane from going round, in words for the run's log."""

import os
import sys
import sysconfig
from types import FrameType
from typing import Final

_LIBRARIES: Final = tuple(
    path
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
    if (path := sysconfig.get_paths().get(name))
)
_OWN: Final = ("taskyard", "taskyard_agent", "taskyard_contract")


def place_of(frame: FrameType) -> str:
    """Return the innermost place in code of the user's; where there is none, the innermost of all."""
    found: FrameType | None = frame
    others = (*_LIBRARIES, *_own_directories(), "<frozen")
    while found is not None:
        if not found.f_code.co_filename.startswith(others):
            return _text(found)
        found = found.f_back
    return _text(frame)


def _own_directories() -> list[str]:
    files = [getattr(sys.modules.get(name), "__file__", None) for name in _OWN]
    return [os.path.dirname(file) + os.sep for file in files if file]


def _text(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"


def words_for(place: str, sure: bool) -> str:
    """Say what keeps the loop, and what can be done.

    Args:
        place: Where.
        sure: Whether it is this run, and not something that one of several has started beside itself.
    """
    who = "this async task" if sure else "this async task, or another one in its process,"
    return (
        f"{who} keeps the event loop that it shares with others: no other async task in its process can go on"
        f" meanwhile. It is at {place}; await what takes time, move it into 'asyncio.to_thread(...)', or make"
        " it a task with 'def' instead of 'async def'"
    )
