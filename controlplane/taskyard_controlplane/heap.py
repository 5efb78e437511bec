"""Gives memory back to the system that the C library keeps after much was freed.

Payloads of a burst lie between records that stay, so the heap does not shrink when they go: after a client
that read nothing, hundreds of megabytes of free pages were still this process's. glibc gives such pages back
when it is told to; other C libraries have no such call, and nothing is done there.
"""

import asyncio
import ctypes
from concurrent.futures import Executor
from typing import Final

LOOK_SECONDS: Final = 10.0
"""How often one looks: often enough that nobody's alarm goes off, too seldom to be felt."""
KEPT_BYTES: Final = 24 * 1024 * 1024
"""Free memory that is kept for what comes next; to give up less would only cost page faults."""


class _Mallinfo2(ctypes.Structure):
    """``struct mallinfo2`` of glibc; what is read of it is `fordblks`, the free bytes in all arenas."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks",
            "keepcost",
        )
    )  # fmt: skip


class Heap:
    """The C library's heap of this process."""

    def __init__(self) -> None:
        """Find the calls; without them nothing is ever trimmed."""
        library = ctypes.CDLL(None)
        self._trim = getattr(library, "malloc_trim", None)
        self._info = getattr(library, "mallinfo2", None)
        if self._info is not None:
            self._info.restype = _Mallinfo2

    def free_bytes(self) -> int:
        """Return how much is free and not given back; 0 where nobody knows."""
        return int(self._info().fordblks) if self._info is not None else 0

    def trim(self, kept: int = KEPT_BYTES) -> bool:
        """Give free pages back, if they are more than `kept` bytes; blocks, without the interpreter."""
        if self._trim is None or self.free_bytes() <= kept:
            return False
        self._trim(0)
        return True


async def keep_trimmed(threads: Executor, seconds: float = LOOK_SECONDS) -> None:
    """Look at the heap from time to time, on one of some `threads`; never returns."""
    heap, loop = Heap(), asyncio.get_running_loop()
    while True:
        await asyncio.sleep(seconds)
        await loop.run_in_executor(threads, heap.trim)
