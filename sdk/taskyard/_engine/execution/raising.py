"""Raises exceptions in other threads, at their next bytecode.

Apart from those who do so, because ctypes takes some milliseconds to import, and few programs need it.
"""

import ctypes


def raise_in(thread: int, kind: type[BaseException] | None) -> None:
    """Raise an exception in a thread, or take back what was set and not raised yet.

    Args:
        thread: Its identity.
        kind: The class of the exception; None takes it back.
    """
    exception = ctypes.py_object(kind) if kind is not None else ctypes.py_object()
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), exception)
