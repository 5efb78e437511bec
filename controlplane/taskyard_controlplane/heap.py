"""Gives memory back to the system that the C library keeps after much was freed.

Payloads of a burst lie between records that stay, so the heap does not shrink when they go: after a client
that read nothing, hundreds of megabytes of free pages were still this process's. glibc gives such pages back
when it is told to; other C libraries have no such call, and nothing is done there.

The interpreter keeps more: of objects that were freed some thousands for the next of their kind, and the
names under which attributes were looked up. Few of them keep much, because small objects lie in arenas of
1 MiB, of which only whole ones go back. It lets go of the former in a full collection, and of the latter when
told to.

Large blocks, which are whole frames, get pages of their own, and these go with them. glibc does so at first,
but learns from each such block that is freed that the next ones belong into the heap, up to 32 MiB.
"""

import asyncio
import ctypes
import gc
import resource
import sys
from collections.abc import Callable
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
MANY_BLOCKS: Final = 10_000
"""So many small blocks more or fewer than before are worth a collection: what a thousand runs take."""
LARGE_BYTES: Final = 1024 * 1024
"""A block with pages of its own. Frames of usual work are far smaller, and must not cost system calls."""
TOP_BYTES: Final = 8 * 1024 * 1024
"""Free memory at the end of a heap that is given back at once."""
_forget_names: Final = getattr(sys, "_clear_internal_caches", None) or getattr(sys, "_clear_type_cache", None)
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


class Spares:
    """What the interpreter keeps of objects that were freed, for the next of their kind."""

    def __init__(self) -> None:
        """Take what there is now for little."""
        self._blocks = sys.getallocatedblocks()

    def let_go(self, renew: Callable[[], None]) -> bool:
        """Let go of them, if much was made or freed since the last time; returns whether it was.

        It lasts 4 ms, and 40 ms when memory is full of runs: nothing for a process that is not at rest.

        Args:
            renew: Makes anew what is made all the time, and was made last amid all that went. It is called
                without any spares, so that it gets memory beside what stays; what it replaces is one.
        """
        if abs(sys.getallocatedblocks() - self._blocks) < MANY_BLOCKS:
            return False
        gc.collect()
        renew()
        gc.collect()
        if _forget_names is not None:
            _forget_names()
        self._blocks = sys.getallocatedblocks()
        return True


def resident_bytes() -> int:
    """Return how much memory this process has; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * PAGE_BYTES
    except OSError:
        return 0


async def keep_trimmed(threads: Executor, renew: Callable[[], None], seconds: float = LOOK_SECONDS) -> None:
    """Look at the heap from time to time, on one of some `threads`; never returns.

    Args:
        threads: Where it is looked.
        renew: Called at rest after much has happened; as for `Spares.let_go`.
        seconds: How often.
    """
    heap, spares, loop = Heap(), Spares(), asyncio.get_running_loop()
    heap.keep_large_blocks_apart()

    def look(at_rest: bool) -> float:
        """Return how long it takes to look."""
        started = monotonic()
        heap.look(at_rest)
        return monotonic() - started

    pause, used = seconds, process_time()
    while True:
        await asyncio.sleep(pause)
        used_before, used = used, process_time()
        at_rest = used - used_before < REST_SHARE * pause
        if at_rest:
            spares.let_go(renew)  # on this thread, which is that of most of what is found dead
        pause = max(seconds, await loop.run_in_executor(threads, look, at_rest) / MOST_OF_TIME)
