"""The local yard: a control plane and one agent in the background, for the person at this machine.

Invariant: at most one yard serves a home directory, and its agent does not outlive it.
"""

import asyncio
import fcntl
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from taskyard_contract.programs.home_directory import HOME, make_home
from taskyard_contract.programs.private_files import opener
from taskyard_controlplane.agent_keeper import AgentKeeper
from taskyard_controlplane.log_file import LogFile
from taskyard_controlplane.rpc.addresses import ensure_free, is_listening
from taskyard_controlplane.settings import YardSettings

if TYPE_CHECKING:
    from taskyard_controlplane.app import ControlPlane

AGENT_SECONDS: Final = 35.0
"""For the agent to end what it executes; somewhat more than the 30 that it gives that itself."""
LOCK_SECONDS: Final = 10.0
"""How long to wait for a yard that holds the lock and does not listen: starting or stopping takes less."""
LOCK_RETRY_SECONDS: Final = 0.05
"""Somebody's first result waits behind this."""
LONGEST_LOOK_SECONDS: Final = 1.0
"""How late a yard may notice that it is idle, or that its home is gone."""

_log = logging.getLogger(__name__)


class YardInUse(Exception):
    """Another yard serves this home directory."""


def run_yard(settings: YardSettings) -> None:
    """Serve until the yard is idle, or a signal comes.

    Raises:
        YardInUse: Another yard serves the home directory.
        HomeUnusable: There is none, and it cannot be made.
    """
    make_home(settings.home)
    with sole_yard(settings):
        ensure_free(settings.address)
        # The agent imports its modules on one processor while this process imports its own on another.
        # Its files belong into this home: agents of two yards must not clear up after each other.
        with AgentKeeper(agent_command(settings), {HOME: str(settings.home)}) as keeper:
            from taskyard_controlplane import app

            app.run(
                settings.server_settings(),
                partial(ready_line, settings),
                partial(_serve_until_idle, settings, keeper),
            )


def agent_command(settings: YardSettings) -> list[str]:
    """Return the command that starts the yard's agent."""
    return [
        *(sys.executable, "-m", "taskyard_agent", "--server", settings.address),
        *("--slots", str(settings.slots), "--name", "local"),
    ]


def ready_line(settings: YardSettings, plane: "ControlPlane") -> str:
    """Return what is printed when the yard serves."""
    return f"taskyard yard ready on {plane.address} ({settings.slots} slots, home {settings.home})"


@contextmanager
def sole_yard(settings: YardSettings) -> Iterator[None]:
    """Hold the lock of a home directory, with the pid file for people.

    The lock file is never removed: who holds a lock on a removed file excludes nobody.
    """
    with open(settings.home / "yard.lock", "ab", opener=opener) as lock:
        _acquire(lock.fileno(), settings)
        pid_file = settings.home / "yard.pid"
        with open(pid_file, "w", opener=opener) as file:
            file.write(f"{os.getpid()}\n")
        try:
            yield
        finally:
            pid_file.unlink(missing_ok=True)


def _acquire(lock: int, settings: YardSettings) -> None:
    """Take the lock. A yard that holds it and does not listen is starting or stopping: wait for which."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if is_listening(settings.socket) or time.monotonic() > deadline:
                raise YardInUse(f"another yard serves {settings.home} already") from None
            time.sleep(LOCK_RETRY_SECONDS)
        else:
            return


class IdleClock:
    """Says when a yard has been idle for long enough. Pure: time is an argument."""

    def __init__(self, idle_seconds: float) -> None:
        """Allow so many seconds without work; 0 means any number."""
        self._limit = idle_seconds
        self._since: float | None = None

    def observe(self, idle: bool, now: float) -> bool:
        """Note whether the yard is idle at `now`; returns whether it should end."""
        if not idle:
            self._since = None
            return False
        if self._since is None:
            self._since = now
        return 0 < self._limit <= now - self._since


async def _bounded(log_file: LogFile) -> None:
    try:
        await asyncio.to_thread(log_file.begin_anew)
    except OSError as error:  # the disk is full, for example
        _log.warning("the log cannot be begun anew (%s)", error.strerror)


async def _serve_until_idle(settings: YardSettings, keeper: AgentKeeper, plane: "ControlPlane") -> None:
    """Return when the yard has nothing to do any more, or its home was removed."""
    clock = IdleClock(settings.idle_seconds)
    interval = min(LONGEST_LOOK_SECONDS, settings.idle_seconds / 4 or LONGEST_LOOK_SECONDS)
    loop, log_file = asyncio.get_running_loop(), LogFile(settings.home)
    try:
        # Looked at now and then: telling the yard of every change would cost each run something.
        while settings.socket.exists() and not clock.observe(plane.owner.idle(), loop.time()):
            await asyncio.sleep(interval)
            if log_file.is_full():
                await _bounded(log_file)
        _log.info("the yard has nothing to do and ends")
        settings.socket.unlink(missing_ok=True)  # new clients must not find a yard that is ending
    finally:
        # What is executed may end, and be reported, before there is nobody to report it to.
        keeper.end()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, keeper.hurry)
        if not plane.failed.done():
            await keeper.ended(AGENT_SECONDS)
        settings.socket.unlink(missing_ok=True)
