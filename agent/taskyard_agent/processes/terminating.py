"""How worker processes end: signals to their groups, and what an exit status means to people."""

import os
import signal
from contextlib import suppress
from typing import Final


def signal_group(pid: int, signum: int) -> None:
    """Signal a worker's process group."""
    if pid > 0:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signum)


def describe_exit(status: int | None) -> str:
    """Say how a process ended, from its wait status."""
    if status is None:
        return "the worker process died together with the zygote that had started it"
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"the worker process left with exit code {code}; tasks must return or raise, not exit"
    name = _signal_name(-code)
    return f"the worker process was killed by {name}{_HINTS.get(-code, '')}"


def _signal_name(number: int) -> str:
    return next((known.name for known in signal.Signals if known == number), f"signal {number}")


_HINTS: Final[dict[int, str]] = {
    signal.SIGKILL: "; if nobody sent that, the machine was out of memory",
    signal.SIGSEGV: "; native code called by the task is defective",
}
