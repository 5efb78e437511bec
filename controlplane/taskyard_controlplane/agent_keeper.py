"""Keeps one agent process running beside the local yard.

Invariant: the agent is restarted whenever it ends by itself, never while the yard ends, and the kernel ends
it when the yard is killed.
"""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, Self

from taskyard_contract.programs.dying_with_parent import before_exec
from taskyard_contract.programs.private_files import umask_of_users

FIRST_DELAY_SECONDS: Final = 0.2
"""An agent that died of an accident is missed at once."""
LONGEST_DELAY_SECONDS: Final = 10.0
"""One that cannot start, for want of memory say, must not keep a processor busy with trying."""
STABLE_SECONDS: Final = 30.0
"""One that lasted so long had started well: its end is a new accident."""
END_SECONDS: Final = 10.0
"""What an agent gets to end its workers; somewhat more than it gives them."""

_log = logging.getLogger(__name__)


class Backoff:
    """How long to wait before the next start. Pure: time is an argument."""

    def __init__(self) -> None:
        """Begin with the shortest delay."""
        self._next = FIRST_DELAY_SECONDS

    def after_run(self, lasted: float) -> float:
        """Return the delay after a process that lasted so many seconds."""
        if lasted >= STABLE_SECONDS:
            self._next = FIRST_DELAY_SECONDS
        delay = self._next
        self._next = min(self._next * 2, LONGEST_DELAY_SECONDS)
        return delay


class AgentKeeper:
    """A context in which an agent runs. The agent starts at once, before anything heavy is imported."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Keep the process of `command` running; `environment` adds to what this process has."""
        self._command = command
        self._environment = {**os.environ, **(environment or {})}
        self._before_exec = before_exec(signal.SIGTERM)
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        # One thread starts every agent: the kernel takes the end of the starting thread for the parent's.
        self._thread = threading.Thread(target=self._keep, name="agent-keeper", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the agent, and make sure of it."""
        self.end_agent()
        self._thread.join(END_SECONDS)
        process = self._process
        if process is not None and process.poll() is None:
            _log.warning("the agent did not end within %g s and is killed", END_SECONDS)
            process.kill()
        self._thread.join()

    @property
    def pid(self) -> int | None:
        """The process that runs, if one does."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def end_agent(self) -> None:
        """Ask the agent to end, once, and start no other. Does not wait."""
        with self._lock:
            asked = self._ending.is_set()
            self._ending.set()
        if not asked:
            self.hurry_agent()

    def hurry_agent(self) -> None:
        """Send the agent the signal to end: one that was sent it before leaves what it executes."""
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                self._process.terminate()

    async def ended(self, seconds: float) -> None:
        """Wait until an agent that was asked to end has done so, at most so long."""
        await asyncio.to_thread(self._thread.join, seconds)

    def _keep(self) -> None:
        backoff = Backoff()
        while True:
            started = time.monotonic()
            try:
                process = self._start()
                if process is None:
                    return
                how = f"ended with code {process.wait()}"
            except OSError as error:  # no memory, or too many processes
                how = f"could not be started ({error.strerror})"
            if self._ending.is_set():
                return
            delay = backoff.after_run(time.monotonic() - started)
            _log.warning("the agent %s and is started again in %.1f s", how, delay)
            if self._ending.wait(delay):
                return

    def _start(self) -> subprocess.Popen[bytes] | None:
        with self._lock:
            if self._ending.is_set():
                return None
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno(),  # the yard's own standard output is one line
                preexec_fn=self._before_exec,  # calls into the kernel only
                umask=umask_of_users(),  # it is their tasks that inherit it
                start_new_session=True,  # Ctrl-C is for the yard, which ends the agent in order
            )
            return self._process
