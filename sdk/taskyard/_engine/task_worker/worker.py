"""Serves tasks until somebody has it stop: a signal, the program around it, the server, or a time.

Invariant: however it is stopped, it takes nothing more, and what executes ends or is given to others. Only a
second request, or the end of the grace, cuts that short.
"""

import asyncio
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final

from taskyard import settings
from taskyard._durable_names import public
from taskyard._engine.task_worker.agent import ServingAgent
from taskyard._engine.task_worker.served import Served
from taskyard._network.server.locating import locator
from taskyard._network.server.loop_thread import loop_thread
from taskyard._network.session.sessions import current_session
from taskyard.logging import configure

logger = logging.getLogger("taskyard.task_worker")
GRACE_SECONDS: Final = 30.0
"""For runs that execute when it is stopped: as for those of agents, and what Kubernetes gives a pod."""
DEFAULT_LIMIT: Final = 10


@public("taskyard.task_worker")
class TaskWorker:
    """Executes deferred runs of some tasks in this program.

    That is, those of `delay`, `apply_async` and `map(deferred=True)`. Functions are executed in threads of
    this program, coroutine functions in the event loop of whoever serves.
    """

    def __init__(self, *tasks: Any, limit: int | None = DEFAULT_LIMIT) -> None:
        """Be about to serve tasks; `start` or `astart` does it.

        Args:
            *tasks: The tasks.
            limit: How many runs are executed at the same time, of all tasks together; None for any number.

        Raises:
            ValueError: There is no task, one that other programs have no name for, or a limit below 1.
            TypeError: Something is no task whose function is here, or the limit is no number.
        """
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int)):
            raise TypeError(f"'limit' must be a whole number, or None for any number of runs; got {limit!r}")
        if limit is not None and limit < 1:
            raise ValueError(f"'limit' must be at least 1, or None for any number of runs; got {limit}")
        self._served = Served(tasks)
        self.tasks: list[Any] = list(self._served.tasks)
        """The tasks, with their results kept."""
        self.limit = limit
        self.started_at: datetime | None = None
        """Since when it serves; None while it does not."""
        self.stopping = False
        """Whether it takes nothing more."""
        self._agent: ServingAgent | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()

    # For people, and for those who look on.

    @property
    def client_id(self) -> str:
        """The name of this program among those that serve."""
        return f"{socket.gethostname()}-{os.getpid()}"

    @property
    def task_keys(self) -> set[str]:
        """The keys of the tasks."""
        return {task.task_key for task in self.tasks}

    @property
    def started(self) -> bool:
        """Whether it serves."""
        return self.started_at is not None

    @property
    def current_tasks(self) -> int:
        """How many runs are in hand."""
        return len(self._agent.executing()) if self._agent is not None else 0

    @property
    def available_tasks(self) -> int | None:
        """How many more it would take; None for any number."""
        return None if self.limit is None else max(0, self.limit - self.current_tasks)

    @property
    def in_flight_task_runs(self) -> dict[str, dict[str, datetime]]:
        """When each run began that is being executed: by the keys of tasks, and by their ids."""
        from taskyard_contract.ids import format_id

        found: dict[str, dict[str, datetime]] = {key: {} for key in self.task_keys}
        for attempt in self._agent.executing() if self._agent is not None else ():
            if attempt.began:
                began = datetime.fromtimestamp(attempt.began, UTC)
                found.setdefault(attempt.code.task.task_key, {})[format_id(attempt.key.run_id)] = began
        return found

    @property
    def finished_task_runs(self) -> dict[str, int]:
        """How many attempts have ended here, by the keys of their tasks."""
        return dict(self._agent.finished) if self._agent is not None else dict.fromkeys(self.task_keys, 0)

    def status(self) -> dict[str, Any]:
        """Return all of this, and whether there is a connection, as JSON has it."""
        since = self.started_at
        return {
            "client_id": self.client_id,
            "started_at": since.isoformat() if since is not None else None,
            "stopping": self.stopping,
            "limit": self.limit,
            "current": self.current_tasks,
            "available": self.available_tasks,
            "tasks": sorted(self.task_keys),
            "finished": self.finished_task_runs,
            "in_flight": {
                key: {run: began.isoformat() for run, began in runs.items()}
                for key, runs in self.in_flight_task_runs.items()
            },
        }

    # For whoever serves.

    def start(self, timeout: float | None = None) -> None:
        """Serve until it is stopped: by SIGTERM or Ctrl-C, by `stop`, by the server, or after a time.

        Args:
            timeout: For how many seconds to serve; None for as long as nobody stops it.

        Raises:
            RuntimeError: It serves already, or an event loop runs in this thread (`astart` serves in it).
            TaskyardError: The control plane cannot be reached, or does not take this program.
        """
        _check_no_loop("start", "astart")
        asyncio.run(self._serve(timeout, own_program=True))

    async def astart(self, timeout: float | None = None) -> None:
        """Serve like `start`, in the loop that is running; cancelling it stops it in good order.

        The program around it keeps its own handlers of signals; a program that has none for SIGTERM gets one.
        """
        await self._serve(timeout, own_program=False)

    def stop(self) -> None:
        """Have it take nothing more, and return when what executes has ended; from any thread.

        Raises:
            RuntimeError: It does not serve.
        """
        loop = self._loop
        if loop is None or not self.started:
            raise RuntimeError(
                "this task worker does not serve: call start(), or await astart(), before stop()"
            )
        loop.call_soon_threadsafe(self._request_stop)

    async def astop(self) -> None:
        """Do the same from asynchronous code."""
        self.stop()

    def _request_stop(self) -> None:
        if self._stop.is_set():
            logger.warning("asked to stop once more: leaving at once")
            if self._agent is not None:
                self._agent.hurry()
        else:
            self.stopping = True
            self._stop.set()

    async def _serve(self, timeout: float | None, *, own_program: bool) -> None:
        if self.started:
            raise RuntimeError("this task worker serves already")
        configure()
        self._loop = loop = asyncio.get_running_loop()
        self._stop, self.stopping, self.started_at = asyncio.Event(), False, datetime.now(UTC)
        self._agent = agent = ServingAgent(self._served, self.limit, loop, self._stop.set)
        try:
            with _handled_signals(self._request_stop, own_program):
                address = await self._connected()
                if not address:
                    return
                await _on_loop_thread(agent.begin(address, self._say_ready))
                try:
                    await self._wait(agent, timeout)
                finally:
                    await self._leave(agent)
        finally:
            agent.close()
            self.started_at = None

    async def _connected(self) -> str:
        """Return the address of the control plane once it has answered; "" when this was stopped before."""
        stopped: asyncio.Future[Any] = asyncio.ensure_future(self._stop.wait())
        found = _in_thread(_connected)
        try:
            await asyncio.wait([stopped, found], return_when=asyncio.FIRST_COMPLETED)
            return found.result() if found.done() else ""
        finally:
            stopped.cancel()
            found.cancel()

    async def _wait(self, agent: ServingAgent, timeout: float | None) -> None:
        stopped: asyncio.Future[Any] = asyncio.ensure_future(self._stop.wait())
        ends: list[asyncio.Future[Any]] = [stopped, agent.failed]
        try:
            await asyncio.wait(ends, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
        if agent.failed.done():
            agent.failed.result()

    async def _leave(self, agent: ServingAgent) -> None:
        """Leave in good order, also when whoever waits for it is cancelled; once more cuts that short."""
        self.stopping = True
        self._stop.set()
        leaving = asyncio.ensure_future(_on_loop_thread(agent.leave(GRACE_SECONDS)))
        try:
            await asyncio.shield(leaving)
        except asyncio.CancelledError:
            agent.hurry()
            await leaving
            raise
        finally:
            if not agent.failed.done():
                agent.failed.cancel()
        logger.info("no longer serving")

    def _say_ready(self) -> None:
        names = ", ".join(sorted(task.name for task in self.tasks))
        most = "without a limit" if self.limit is None else f"at most {self.limit} at the same time"
        logger.info("serving %s (%s)", names, most)


def _connected() -> str:
    current_session()  # a local yard ends when nobody is connected as a program; this one is
    return locator(settings.server())()


def _in_thread(call: Callable[[], str]) -> "asyncio.Future[str]":
    """Call something in a thread that nobody has to wait for: whoever stops a program does not."""
    found: Future[str] = Future()
    found.set_running_or_notify_cancel()

    def work() -> None:
        try:
            found.set_result(call())
        except BaseException as error:
            found.set_exception(error)

    threading.Thread(target=work, name="taskyard-connecting", daemon=True).start()
    return asyncio.wrap_future(found)


async def _on_loop_thread(work: Any) -> Any:
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop_thread.loop()))


def _check_no_loop(name: str, instead: str) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(f"'{name}' would block the event loop that runs here; use 'await {instead}(...)'")


@contextmanager
def _handled_signals(stop: Callable[[], None], own_program: bool) -> Iterator[None]:
    """Have signals stop it: those that nobody handles, and in a program of its own Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    numbers = [signal.SIGTERM] if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL else []
    if own_program:
        numbers.append(signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}
    handled = []
    with suppress(NotImplementedError):  # loops of some systems know no signals
        for number in numbers:
            loop.add_signal_handler(number, stop)
            handled.append(number)
    try:
        yield
    finally:
        for number in handled:
            loop.remove_signal_handler(number)
            signal.signal(number, before[number])
