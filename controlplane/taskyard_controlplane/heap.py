"""Gives memory back to the system that the C library keeps after much was freed.

Payloads of a burst lie between records that stay, so the heap does not shrink when they go: after a client
that read nothing, hundreds of megabytes of free pages were still this process's. glibc gives such pages back
when it is told to; other C libraries have no such call, and nothing is done there.

Large blocks, which are whole frames, get pages of their own, and these go with them. glibc does so at first,
but learns from each such block that is freed that the next ones belong into the heap, up to 32 MiB.
"""

import asyncio
import ctypes
import resource
from concurrent.futures import Executor
from pathlib import Path
from time import monotonic, process_time
from typing import Final

PAGE_BYTES: Final = resource.getpagesize()
LOOK_SECONDS: Final = 20.0
"""How often one looks: often enough that nobody's alarm goes off, too seldom to be felt."""
MOST_OF_TIME: Final = 0.001
"""Looking takes no larger share of the time: with half a million free blocks it lasts 80 ms."""
KEPT_BYTES: Final = 12 * 1024 * 1024
"""Free memory that is kept for what comes next; to give up less would only cost page faults."""
REST_SHARE: Final = 0.05
"""A process that used less of a processor since the last look is at rest: nothing comes next."""
LARGE_BYTES: Final = 1024 * 1024
"""A block with pages of its own. Frames of usual work are far smaller, and must not cost system calls."""
TOP_BYTES: Final = 8 * 1024 * 1024
"""Free memory at the end of a heap that is given back at once."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


class _Mallinfo2(ctypes.Structure):
    """``struct mallinfo2`` of glibc: `uordblks` bytes are in use in arenas, `hblkhd` in their own pages."""

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
        self._option = getattr(library, "mallopt", None) if self._trim is not None else None
        if self._info is not None:
            self._info.restype = _Mallinfo2
        self._others = self.unused_bytes()  # of these, what nothing can be done about

    def keep_large_blocks_apart(self) -> None:
        """Let the memory of large blocks go when they do."""
        if self._option is not None:
            self._option(_M_MMAP_THRESHOLD, LARGE_BYTES)
            self._option(_M_TRIM_THRESHOLD, TOP_BYTES)

    def unused_bytes(self) -> int:
        """Return how much memory this process has beyond what is in use of the heap.

        That is what others than the heap take, and free pages that were not given back. (How much is free in
        all is no use: pages that were given back count as well.) 0 where nobody knows.
        """
        if self._info is None:
            return 0
        info = self._info()
        return resident_bytes() - int(info.uordblks) - int(info.hblkhd)

    def look(self, at_rest: bool) -> None:
        """Give free pages back if they are many; all of them when the process is `at_rest`."""
        if at_rest and self._trim is not None:
            # Without asking how many: what the interpreter has let go may hide as much that is free here.
            self._trim(0)
            self._others = self.unused_bytes()
        else:
            self.trim()

    def trim(self, kept: int = KEPT_BYTES) -> bool:
        """Give free pages back, if they are more than `kept` bytes; blocks, without the interpreter."""
        unused = self.unused_bytes()
        self._others = min(self._others, unused)
        if self._trim is None or unused <= self._others + kept:
            return False
        self._trim(0)
        self._others = self.unused_bytes()
        return True


def resident_bytes() -> int:
    """Return how much memory this process has; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * PAGE_BYTES
    except OSError:
        return 0


async def keep_trimmed(threads: Executor, seconds: float = LOOK_SECONDS) -> None:
    """Look at the heap from time to time, on one of some `threads`; never returns."""
    heap, loop = Heap(), asyncio.get_running_loop()
    heap.keep_large_blocks_apart()

    used = process_time()

    def look(since: float) -> float:
        """Return how long it takes to look."""
        nonlocal used
        started, used_before = monotonic(), used
        used = process_time()
        heap.look(used - used_before < REST_SHARE * since)
        return monotonic() - started

    pause = seconds
    while True:
        await asyncio.sleep(pause)
        pause = max(seconds, await loop.run_in_executor(threads, look, pause) / MOST_OF_TIME)
