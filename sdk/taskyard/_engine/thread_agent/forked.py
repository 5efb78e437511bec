"""Children that a task forks: they end as children, and report nothing."""

import os
import sys
from contextlib import suppress
from typing import NoReturn


def forks() -> int:
    """Say how often this process was forked from another one that had this module."""
    return _forks


def end_child(error: BaseException | None) -> NoReturn:
    """End a child that a task has forked in a thread of its own, as children end: it has no other thread."""
    code = 0
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif error is not None:
        code = 1
        sys.excepthook(type(error), error, error.__traceback__)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _after_fork() -> None:
    global _forks
    _forks += 1


_forks = 0
os.register_at_fork(after_in_child=_after_fork)
