"""The yard of the tests of this process: a server, an agent and a directory, thrown away afterwards.

Invariants: there is at most one at a time, and whoever asks for one while it runs shares it; nothing of
another yard is read or written meanwhile; and when the last user leaves, processes, files and variables are
as before.
"""

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Final

from taskyard import settings
from taskyard._engine.submission.scope import current_scope
from taskyard._network.server.calls import Client
from taskyard._network.server.local_yard import LONGEST_SOCKET_PATH
from taskyard._network.session.sessions import close_session
from taskyard.settings.overriding import set_variables
from taskyard.testing.in_process import ServerInProcess
from taskyard.testing.options import Options
from taskyard.testing.programs import Program
from taskyard.testing.variables import PLACES, of_programs
from taskyard_contract.clock import wall_us
from taskyard_contract.programs.extras import require_extra
from taskyard_contract.programs.home_directory import YARD_DATABASE, YARD_SOCKET, database_url, yard_address

if TYPE_CHECKING:
    from taskyard.flow_runs import FlowRun

STARTUP_SECONDS: Final = 30.0
"""A yard starts in less than a second; a cold disk and a busy machine may take this long."""
_PREFIX: Final = "taskyard-test-"
_AGENT: Final = "test-agent"


class Harness:
    """A yard for tests, as `taskyard_test_harness` and the fixtures of the plugin give it.

    Attributes:
        home: Its directory, with the database and the logs of its programs.
        address: Where its server listens.
        options: What it was started with.
    """

    def __init__(self, options: Options) -> None:
        """Make its directory; `start` does the rest."""
        self.options = options
        self.home = _new_directory()
        self.address = yard_address(self.home)
        self._server: Program | ServerInProcess
        self._agent: Program | None = None
        self._forward = 0.0
        self._client: Client | None = None
        self._views = 0
        self._since_us = 0
        self._pid = os.getpid()
        self._closing = ExitStack()

    def kill_agent(self) -> None:
        """End the agent like a power cut, with what it executes, and start it again.

        Its runs are repeated, as after any loss of an agent: that counts as no retry.

        Raises:
            RuntimeError: Everything is in one process, without an agent.
        """
        if self._agent is None:
            raise RuntimeError("this harness was started with in_process=True, and has no agent to kill")
        self._agent.kill()
        self._agent = self._start_agent()
        self._agent.wait_ready(time.monotonic() + STARTUP_SECONDS)

    def advance(self, by: timedelta | float) -> None:
        """Set the clock of the server forward, and have it do what is due by then.

        Retries that were to come later begin, results that are cached for a time expire, and nobody is taken
        for gone. What tests and tasks themselves ask the time of goes on as it did.

        Args:
            by: How far; a number is in seconds.

        Raises:
            RuntimeError: The server is a process of its own, whose clock is that of the machine.
            ValueError: It is less than nothing: time does not go back.
        """
        seconds = by.total_seconds() if isinstance(by, timedelta) else float(by)
        if not 0 <= seconds < inf:
            raise ValueError(f"time only goes forward, by a number of seconds, and not by {seconds:g}")
        if not isinstance(self._server, ServerInProcess):
            raise RuntimeError(
                "the clock of this harness is that of the machine; one that was started with in_process=True"
                " has a clock that can be set forward"
            )
        self._server.set_forward(seconds)
        self._forward += seconds

    def restart_server(self) -> None:
        """End the server like a power cut and start it again: flows that are running go on.

        With everything in one process it is stopped in order.
        """
        self._server.kill()
        self._server = self._start_server()
        self._server.wait_ready(time.monotonic() + STARTUP_SECONDS)

    def clear_cache(self) -> int:
        """Forget the results that are kept under cache keys; returns how many there were."""
        from taskyard_api.v1 import cache_service_pb2

        return self._calls().clear_cache(cache_service_pb2.ClearCacheRequest(all=True))

    def flow_runs(self, limit: int = 100) -> "list[FlowRun]":
        """Return the flow runs of this test, oldest first; outside of `fresh` all of the yard.

        Args:
            limit: The most that are read.
        """
        from uuid import UUID

        from taskyard.flow_runs import read_flow_run
        from taskyard_api.v1 import run_service_pb2, states_pb2

        wanted = run_service_pb2.RunFilter(kind=states_pb2.RUN_KIND_FLOW, submitted_from_us=self._since_us)
        ids = [
            run.run_id
            for page in self._calls().run_pages(wanted, limit, oldest_first=True)
            for run in page.runs
        ]
        return [read_flow_run(UUID(bytes=run_id)) for run_id in ids[:limit]]

    @contextmanager
    def fresh(self) -> "Iterator[Harness]":
        """Have a test see nothing of others: no cached results, no flow runs, no results in files.

        One at a time: what is cached is forgotten for all.
        """
        self.clear_cache()
        before, self._since_us = self._since_us, wall_us()
        self._views += 1
        try:
            with set_variables({settings.RESULTS_PATH: str(self.home / f"storage-{self._views}")}):
                yield self
        finally:
            self._since_us = before

    def start(self, seconds: float) -> None:
        """Start the programs, and make this the yard of this process.

        Raises:
            ConnectionFailed: They do not start within so many seconds.
        """
        deadline = time.monotonic() + seconds
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, self.home, ignore_errors=True)
            self._server = self._start_server()
            stack.callback(lambda: self._server.kill())  # what it would still write is thrown away
            if not self.options.in_process:
                self._agent = self._start_agent()
                stack.callback(self._end_agent)
            self._server.wait_ready(deadline)
            if self._agent is not None:
                self._agent.wait_ready(deadline)
            stack.callback(self._disconnect)
            own = {settings.SERVER: self.address, settings.HOME: str(self.home)}
            stack.enter_context(set_variables({**dict.fromkeys(PLACES), **own}))
            self._closing = stack.pop_all()

    def close(self) -> None:
        """Undo all that, in the opposite order. In the child of a fork nothing: the yard is its parent's."""
        if os.getpid() == self._pid:
            self._closing.close()

    def _start_server(self) -> Program | ServerInProcess:
        database, factor = database_url(self.home / YARD_DATABASE), self.options.retry_delay_factor or 0.0
        if self.options.in_process:
            return ServerInProcess(self.address, database, factor, self._forward)
        arguments = [
            "serve",
            *("--listen", self.address, "--database", database),
            *("--retry-delay-factor", str(factor)),
        ]
        return self._start("taskyard_controlplane", arguments, "server.log")

    def _end_agent(self) -> None:
        if self._agent is not None:
            self._agent.end()

    def _start_agent(self) -> Program:
        slots = str(self.options.slots)
        arguments = ["--server", self.address, "--name", _AGENT, "--slots", slots, "--grace", "0"]
        return self._start("taskyard_agent", arguments, "agent.log")

    def _start(self, module: str, arguments: list[str], log: str) -> Program:
        return Program(module, arguments, of_programs(str(self.home)), self.home / log)

    def _calls(self) -> Client:
        if self._client is None:
            self._client = Client(self.address, patient=True)
        return self._client

    def _disconnect(self) -> None:
        close_session(self.address)
        client, self._client = self._client, None
        if client is not None:
            client.close()


def _new_directory() -> Path:
    """Make a directory whose name leaves room for a socket in it."""
    place = Path(tempfile.gettempdir())
    longest = len(os.fsencode(place / f"{_PREFIX}12345678" / YARD_SOCKET))
    return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place if longest <= LONGEST_SOCKET_PATH else "/tmp"))


_lock = threading.Lock()
_running: Harness | None = None
_users = 0


@contextmanager
def harness(options: Options, seconds: float) -> Iterator[Harness]:
    """Share the yard of the tests, started for the first user and ended with the last.

    Args:
        options: What to start it with.
        seconds: How long that may take.

    Raises:
        ConnectionFailed: It does not start.
        ExtraMissing: The programs are not installed.
        RuntimeError: One that runs was started otherwise; or this is inside of a run of another yard.
    """
    shared = _enter(options, seconds)
    runner = options.task_runner or ("threads" if shared.options.in_process else None)
    try:
        with set_variables({settings.TASK_RUNNER: runner} if runner else {}):
            yield shared
    finally:
        _leave()


def _enter(options: Options, seconds: float) -> Harness:
    global _running, _users
    with _lock:
        if _running is None:
            if current_scope() is not None:
                raise RuntimeError(
                    "a test harness cannot be started inside of a flow or task: what they call goes to the"
                    " yard they run in; start it around the call of the flow"
                )
            for extra in ("server",) if options.in_process else ("server", "agent"):
                require_extra(extra, "a test harness")
            fresh = Harness(options.complete())
            fresh.start(seconds)
            _running = fresh
        elif differs := options.difference(_running.options):
            raise RuntimeError(
                f"a test harness is running with other options: {differs}; leave them out to share it, or"
                " give them where it is started first"
            )
        _users += 1
        return _running


def _leave() -> None:
    global _running, _users
    with _lock:
        _users -= 1
        if _users or _running is None:
            return
        last, _running = _running, None
        last.close()
