"""Where a process of the SDK is, for hangs that no log explains: it writes that down when it gets SIGUSR1."""

import asyncio
import faulthandler
import signal
import sys
from typing import Any

from taskyard._network.server.loop_thread import loop_thread


def tell_when_asked() -> None:
    """Answer SIGUSR1 from now on. Waiting for a lock does not keep the main thread from it."""
    signal.signal(signal.SIGUSR1, _tell)


def _tell(*_: Any) -> None:
    faulthandler.dump_traceback()
    for task in asyncio.all_tasks(loop_thread.loop()):
        print(f"task {task.get_name()}", file=sys.stderr)
        awaited: Any = task.get_coro()
        while (frame := _frame_of(awaited)) is not None:
            print(f"  {frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}", file=sys.stderr)
            awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
        print(f"  waits for {awaited!r}", file=sys.stderr, flush=True)


def _frame_of(awaited: Any) -> Any:
    return getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
