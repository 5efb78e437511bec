"""How worker processes end: why and how they are ended, and what an exit status means to people.

A worker leads a process group of its own, and signals go to the group: what user code has started ends with
it. TERM comes first, so that the run may clean up, and KILL after a grace, because code may ignore TERM.
"""

import asyncio
import os
import signal
from contextlib import suppress
from enum import Enum
from typing import Final

from taskyard_api.v1 import agent_service_pb2 as pb


class Why(Enum):
    """Why a worker is being ended: a number, which keeps members of equal grace apart, and the grace."""

    CANCELLED = (1, 2.0)
    DROPPED = (2, 2.0)
    TIMED_OUT = (3, 0.5)
    """Shorter: it has had its time."""
    STOPPED = (4, 2.0)
    LEASE_LOST = (5, 0.0)
    """None: another agent may be starting the same runs at this moment."""

    WAITING_REFUSED = (6, 0.5)
    """Short: it only waits, and others wait for its slot."""

    SILENT = (7, 0.5)
    """Shorter: it has had its time."""

    @property
    def grace(self) -> float:
        """Seconds between TERM and KILL; 0 means KILL at once."""
        return self.value[1]


class Ending:
    """A worker on its way out, on account of one of its runs."""

    def __init__(self, why: Why, key: pb.RunKey) -> None:
        """Remember the reason and the run."""
        self.why = why
        self.key = key
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, loop: asyncio.AbstractEventLoop, pid: int) -> None:
        """Ask the process group to end, and make it."""
        grace = self.why.grace
        signal_group(pid, signal.SIGTERM if grace else signal.SIGKILL)
        if grace:
            self._timer = loop.call_later(grace, signal_group, pid, signal.SIGKILL)

    def hasten(self, pid: int) -> None:
        """Kill the process group now, whatever is left of its grace."""
        self.done()
        signal_group(pid, signal.SIGKILL)

    def done(self) -> None:
        """Send no more signals: an id whose process has ended may soon belong to another one."""
        if self._timer is not None:
            self._timer.cancel()


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
