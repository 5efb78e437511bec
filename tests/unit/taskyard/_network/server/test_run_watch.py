"""A watch settles whoever waits, whatever becomes of the run, of the server or of itself."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.origins import nowhere

from taskyard._data.values.awaited import AwaitedRun
from taskyard._engine.futures.waiting import wait_blocking
from taskyard._network.server.loop_thread import loop_thread
from taskyard._network.server.run_watch import RunWatch
from taskyard_api.v1 import run_service_pb2 as pb
from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_contract.errors import Overloaded, RunNotFound, StorageUnavailable, TaskyardError
from taskyard_contract.log_entry import add_to
from taskyard_contract.states import RunState

RUN = b"r" * 16


def told(state: RunState, **fields: Any) -> pb.WatchRunsResponse:
    run = pb.Run(run_id=RUN, name="add-0", state=state)  # type: ignore[arg-type]  # equal enums
    return pb.WatchRunsResponse(runs=[run], **fields)


class Server:
    """What a client would be told; an exception ends it, and so does the end of the list."""

    def __init__(self, *messages: pb.WatchRunsResponse | Exception, log: str = "") -> None:
        self._messages = messages
        self._log = log
        self.left = threading.Event()
        self.asked: list[bytes] = []

    async def watch_runs_async(self, wanted: pb.RunFilter) -> AsyncIterator[pb.WatchRunsResponse]:
        self.asked += wanted.run_ids
        try:
            for message in self._messages:
                if isinstance(message, Exception):
                    raise message
                yield message
            await asyncio.Event().wait()
        finally:
            self.left.set()

    async def wait_run_async(self, run_id: bytes, timeout: float) -> pb.Run:
        self.asked.append(run_id)
        return told(RunState.RUNNING if len(self.asked) < 4 else RunState.COMPLETED).runs[0]

    async def tail_run_logs_async(self, run_id: bytes) -> AsyncIterator[pb.TailRunLogsResponse]:
        await asyncio.sleep(0.01)  # later than the end of the run
        message = pb.TailRunLogsResponse(complete=True)
        add_to(message.logs, (run_id, 0, 20, "taskyard.task_runs", self._log, "add-0"))
        yield message


def watched(server: Server, **options: Any) -> AwaitedRun:
    """Watch until there is an outcome."""
    awaited = AwaitedRun(RUN, nowhere())
    with RunWatch(server, awaited, **options):  # type: ignore[arg-type]  # as far as it is used
        assert wait_blocking(awaited, 10)
    return awaited


def test_the_end_of_the_run_is_told_after_its_states() -> None:
    states: list[int] = []
    server = Server(told(RunState.RUNNING, caught_up=True), told(RunState.COMPLETED))
    awaited = watched(server, told=lambda run: states.append(run.state))
    assert awaited.outcome == sp.RunOutcome(run_id=RUN, state=RunState.COMPLETED)  # type: ignore[arg-type]
    assert (states, server.asked) == ([RunState.RUNNING, RunState.COMPLETED], [RUN])
    assert server.left.wait(10)


def test_the_log_is_whole_before_anybody_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    watched(Server(told(RunState.FAILED), log="the last words"), with_log=True)
    assert "Task run 'add-0' - the last words" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("end", "error", "words"),
    [
        (pb.WatchRunsResponse(caught_up=True), RunNotFound, "there is no run .* any more"),
        (StorageUnavailable("the database is away"), StorageUnavailable, "the database is away"),
        (ZeroDivisionError("a defect"), TaskyardError, "broke down .ZeroDivisionError: a defect"),
    ],
)
def test_nobody_waits_for_what_nobody_will_tell(
    end: pb.WatchRunsResponse | Exception, error: type[TaskyardError], words: str
) -> None:
    outcome = watched(Server(end)).outcome
    assert isinstance(outcome, error)
    with pytest.raises(error, match=words):
        raise outcome


def test_a_listener_that_raises_keeps_nobody_waiting(capsys: pytest.CaptureFixture[str]) -> None:
    def full(run: pb.Run) -> None:
        raise OSError("the disk is full")

    assert watched(Server(told(RunState.COMPLETED)), told=full).done()
    assert "OSError: the disk is full" in capsys.readouterr().err


def test_a_server_that_takes_no_more_watches_is_asked_instead() -> None:
    states: list[int] = []
    server = Server(Overloaded("too many follow"))
    assert isinstance(watched(server, told=lambda run: states.append(run.state)).outcome, sp.RunOutcome)
    assert states == [RunState.RUNNING, RunState.RUNNING, RunState.COMPLETED]


def test_who_leaves_ends_the_watch() -> None:
    server = Server(told(RunState.RUNNING))
    awaited = AwaitedRun(RUN, nowhere())
    began = threading.Event()
    with RunWatch(server, awaited, lambda run: began.set()):  # type: ignore[arg-type]  # as above
        assert began.wait(10)
    assert server.left.wait(10)
    loop_thread.run(asyncio.sleep(0))
    assert not awaited.done()
