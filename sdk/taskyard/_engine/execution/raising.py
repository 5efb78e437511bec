"""Raises exceptions in other threads, at their next bytecode.

Apart from those who do so, because ctypes takes some milliseconds to import, and few programs need it.
"""

import ctypes
import threading


class TakenBack(BaseException):
    """Takes the place of an exception that would come too late."""


def raise_in(thread: int, kind: type[BaseException]) -> None:
    """Raise an exception in a thread.

    Args:
        thread: Its identity.
        kind: The class of the exception.
    """
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(kind))


def take_back() -> None:
    """Take back what was set for this thread and not raised yet.

    By raising something else in its place. To set nothing instead leaves the interpreter looking for an
    exception at every bytecode from then on: slower for all threads, and where a debugger, a profiler or
    coverage traces, CPython 3.11 executes one instruction for ever.
    """
    try:
        raise_in(threading.get_ident(), TakenBack)
        while True:  # it comes at the next bytecode that looks
            pass
    except TakenBack:
        pass
