"""Processes that must not outlive the one that started them, however that one ends.

A parent that is killed cannot end its children; the kernel can. It signals a process when its parent ends,
once that process has asked for it. Three traps, which every caller would have to know:

- the parent may have ended before the kernel was asked. Then this process has another parent already, and
  nobody will signal it: so it compares, and ends;
- the kernel means the *thread* that started the process, not the whole parent: start children from a thread
  that lives as long as they may;
- between fork and exec only calls into the kernel are safe: another thread may have held any lock at the
  moment of the fork. So everything is looked up before.

Only Linux has this. Elsewhere children of a killed parent have to notice by themselves.
"""

import ctypes
import os
import sys
from collections.abc import Callable
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
"""From linux/prctl.h."""


def die_with(parent: int, signum: int) -> None:
    """Have this process signalled when its parent ends, and end it now if that has happened.

    Args:
        parent: The process id of the parent, as it was when it started this process.
        signum: The signal.
    """
    ask = _asking(parent, signum)
    if ask is not None:
        ask()


def before_exec(signum: int) -> Callable[[], None] | None:
    """Return what a child of this process calls before it becomes another program (`preexec_fn`).

    None where the kernel has no such service.
    """
    return _asking(os.getpid(), signum)


def _asking(parent: int, signum: int) -> Callable[[], None] | None:
    if not sys.platform.startswith("linux"):
        return None
    prctl, number = ctypes.CDLL(None).prctl, int(signum)

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(0)

    return ask
