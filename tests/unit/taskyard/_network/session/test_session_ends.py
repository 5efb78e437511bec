"""A session goes on whoever has stopped waiting, and says so when it cannot."""

import asyncio
import threading
from typing import Any

import pytest
from support.loopback import LoopbackSession

from taskyard import task
from taskyard._engine.submission.mapping import expand
from taskyard._engine.submission.scope import Scope
from taskyard._engine.submission.submitting import submit_many, submit_one
from taskyard._network.session.session import Session
from taskyard_api.v1 import errors_pb2
from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_contract.errors import ErrorReason, Superseded
from taskyard_contract.id_factory import new_id
from taskyard_contract.states import FlowEvent, RunState


@task
def double(x: int) -> int:
    return 2 * x


def test_a_decision_that_nobody_waits_for_any_more_ends_no_session() -> None:
    exchange_session = Session(lambda: "nowhere")
    run_id = new_id()

    async def main() -> None:
        report = sp.FlowReport(run_id=run_id, attempt=1, event=int(FlowEvent.SUCCEEDED))  # type: ignore[arg-type]
        decision = exchange_session.report_end(report)
        waiting = asyncio.ensure_future(asyncio.wrap_future(decision))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.sleep(0.01)

    asyncio.run(main())
    decided = sp.FlowDecision(run_id=run_id, state=RunState.COMPLETED)  # type: ignore[arg-type]
    exchange_session.in_flight.on_frame(sp.SessionFrame(flow_decisions=[decided]))
    assert exchange_session.in_flight.fatal is None, "nobody was told, and the session goes on"


def test_nothing_is_submitted_to_a_session_that_cannot_go_on() -> None:
    session = Session(lambda: "nowhere")
    session.in_flight.signalled = True  # something was queued when the stream ended
    session.fail(Superseded("another process took over"))
    with pytest.raises(Superseded):
        submit_one(double, Scope(session), (1,), {}).result(timeout=0.2)


def test_runs_of_a_map_that_was_refused_are_not_kept(session: LoopbackSession) -> None:
    scope = session.scope(keep_futures=True)
    with pytest.raises(Exception, match="cannot be pickled"):
        submit_many(double, scope, expand(double.signature, ([1, threading.Lock()],), {}))
    assert scope.kept_futures == []


def test_runs_that_are_submitted_later_are_not_asked_for_before(
    session: LoopbackSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    later: list[Any] = []

    class Loop:
        def call_later(self, delay: float, callback: Any) -> None:
            later.append(callback)

    monkeypatch.setattr("taskyard._network.session.session.loop_thread.loop", Loop)
    detail = errors_pb2.ErrorDetail(reason=ErrorReason.OVERLOADED, retry_after_ms=100)  # type: ignore[arg-type]
    session.script.refuse = lambda run_id: detail
    future = submit_one(double, session.scope(), (4,), {})
    assert later
    session.in_flight.on_welcome(session.script.welcome().welcome)
    frame = session.in_flight.next_frame()
    assert frame is None or future.run_id not in frame.subscribe
