"""A program says why it waits, and nothing where it must not."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from support.loopback import LoopbackSession

from taskyard._data.runs.records import FlowRun, TaskRun
from taskyard._data.values.waits import waiting_for
from taskyard._network.session import wait_asking
from taskyard._network.session.wait_asking import WaitAsking
from taskyard.context import FlowRunContext, TaskRunContext
from taskyard.futures import Future
from taskyard.logging import configure
from taskyard_api.v1 import run_service_pb2 as pb
from taskyard_contract.errors import TaskyardError
from taskyard_contract.id_factory import new_id
from taskyard_contract.states import RunState, WaitReason


class Server:
    """Explains runs in time that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.asked: list[tuple[float, int]] = []
        self.code: grpc.StatusCode | None = None
        self.text = "no agent serves queue 'gpu'"
        self.channel: object | None = object()
        self.meanwhile: Callable[[], None] = lambda: None

    async def Explain(self, request: pb.ExplainRequest, timeout: float) -> pb.ExplainResponse:  # noqa: N802
        self.asked.append((self.now, len(request.run_ids)))
        self.meanwhile()
        if self.code is not None:
            raise grpc.aio.AioRpcError(self.code, grpc.aio.Metadata(), grpc.aio.Metadata())
        reason: Any = int(WaitReason.NO_AGENT_FOR_QUEUE)
        state: Any = int(RunState.READY)
        return pb.ExplainResponse(
            explanations=[
                pb.Explanation(
                    run_id=run_id,
                    name="t-0",
                    state=state,
                    waits=[pb.Wait(reason=reason, message=self.text, missing={"text": self.text})],
                )
                for run_id in request.run_ids
            ]
        )


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    found = Server()
    monkeypatch.setattr(wait_asking, "RunServiceStub", lambda channel: found)
    return found


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    configure()
    root = logging.getLogger("taskyard")
    root.addHandler(caplog.handler)
    with caplog.at_level(logging.DEBUG, "taskyard"):
        yield lambda: [
            f"{getattr(record, 'task_run_name', '') or getattr(record, 'flow_run_name', '')}"
            f"|{record.levelname}|{record.getMessage()}"
            for record in dict.fromkeys(caplog.records)
        ]
    root.removeHandler(caplog.handler)


def live(session: LoopbackSession, server: Server, seconds: float) -> None:
    """Let so much time pass for somebody who watches a session."""
    until = server.now + seconds

    async def sleep(pause: float) -> None:
        server.now += pause
        await asyncio.sleep(0)
        if server.now > until:
            raise asyncio.CancelledError

    asking = WaitAsking(
        session.in_flight,
        lambda: server.channel,  # type: ignore[arg-type, return-value]
        clock=lambda: server.now,
        sleep=sleep,
    )

    async def main() -> None:
        with pytest.raises(asyncio.CancelledError):
            await asking.run()

    asyncio.run(main())


@contextmanager
def waits(session: LoopbackSession, count: int = 1, context: object = None) -> Iterator[None]:
    session.silent = True
    futures = [Future[int](new_id(), session.scope()) for _ in range(count)]
    for future in futures:
        session.in_flight._outstanding[future.run_id] = future
    with waiting_for(futures, context):
        yield


def test_it_is_said_after_two_seconds_and_then_once_a_minute(
    session: LoopbackSession, server: Server, said: Callable[[], list[str]]
) -> None:
    with waits(session):
        live(session, server, 2)
        assert said() == []
    with waits(session):
        live(session, server, 150)
    line = "t-0|WARNING|waits: no agent serves queue 'gpu'"
    assert said() == [line] * 3


def test_another_reason_is_said_when_it_is_seen(
    session: LoopbackSession, server: Server, said: Callable[[], list[str]]
) -> None:
    def change() -> None:
        if len(server.asked) == 3:
            server.text = "no agent runs Python 3.13"

    server.meanwhile = change
    with waits(session):
        live(session, server, 20)
    assert [line.split(": ")[1] for line in said()] == [
        "no agent serves queue 'gpu'",
        "no agent runs Python 3.13",
    ]


def test_many_runs_are_asked_about_by_some_and_said_in_one_line_of_their_flow(
    session: LoopbackSession, server: Server, said: Callable[[], list[str]]
) -> None:
    run = FlowRun(new_id(), "calm-otter")
    with waits(session, 1_000, FlowRunContext(None, run)):
        live(session, server, 3)
    assert server.asked[0][1] == 20
    assert said() == ["calm-otter|WARNING|1,000 runs wait: no agent serves queue 'gpu'"]


def test_a_server_that_does_not_know_the_call_is_asked_once_per_connection(
    session: LoopbackSession, server: Server, said: Callable[[], list[str]]
) -> None:
    server.code = grpc.StatusCode.UNIMPLEMENTED
    with waits(session):
        live(session, server, 60)
    assert len(server.asked) == 1
    assert said() == []


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED])
def test_other_errors_are_the_streams_to_tell(
    session: LoopbackSession, server: Server, said: Callable[[], list[str]], code: grpc.StatusCode
) -> None:
    server.code = code
    with waits(session):
        live(session, server, 10)
    assert len(server.asked) > 1
    assert said() == []


def test_without_a_connection_nobody_is_asked(
    session: LoopbackSession, server: Server, said: Callable[[], list[str]]
) -> None:
    server.channel = None
    with waits(session):
        live(session, server, 10)
    assert (server.asked, said()) == ([], [])


def test_results_keep_it_silent(
    session: LoopbackSession, server: Server, said: Callable[[], list[str]]
) -> None:
    def news() -> None:
        session.in_flight.news += 1

    server.meanwhile = news  # a result arrives while the question is under way
    with waits(session):
        live(session, server, 3)
    assert len(server.asked) == 1
    assert said() == []


def test_runs_of_other_sessions_are_not_asked_about(session: LoopbackSession, server: Server) -> None:
    future = Future[int](new_id(), session.scope())
    with waiting_for([future], None):
        live(session, server, 10)
    assert server.asked == []


def test_it_ends_with_the_session(session: LoopbackSession, server: Server) -> None:
    session.in_flight.on_fatal(TaskyardError("over"))

    async def main() -> None:
        await asyncio.wait_for(WaitAsking(session.in_flight, lambda: None).run(), 10)

    asyncio.run(main())


def test_a_handler_that_raises_does_not_end_it(
    session: LoopbackSession, server: Server, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def show(*_: object, **__: object) -> None:
        raise OSError("the terminal is gone")

    monkeypatch.setattr(wait_asking, "show_from_here", show)
    with waits(session):
        live(session, server, 10)
    assert len(server.asked) > 1
    assert "the terminal is gone" in capsys.readouterr().err


def test_what_waits_in_a_worker_is_told_to_those_that_wait_for_its_run(
    session: LoopbackSession, server: Server, said: Callable[[], list[str]]
) -> None:
    entries: list[tuple[object, ...]] = []
    session.in_flight.caller_run_id = new_id()
    run = TaskRun(run_id := new_id(), "outer-0")
    context = TaskRunContext(None, run, log_sink=entries.append)
    with waits(session, context=context):
        live(session, server, 3)
    text = "task run 't-0' waits: no agent serves queue 'gpu'"
    assert [(entry[0], entry[4], entry[5]) for entry in entries] == [(run_id, text, "outer-0")]
    assert said() == [f"outer-0|WARNING|{text}"]
