"""How runs ended is said once, and before those go on who waited."""

from typing import Any

from support.loopback import LoopbackSession

from taskyard._engine.futures.future import Future
from taskyard._network.session.ends import Ends
from taskyard._network.session.session import Session
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.id_factory import new_id
from taskyard_contract.states import RunState


def failed(run_id: bytes) -> pb.RunOutcome:
    return pb.RunOutcome(run_id=run_id, state=RunState.FAILED, message="boom")  # type: ignore[arg-type]


def test_an_outcome_that_comes_twice_is_said_once(session: LoopbackSession) -> None:
    future: Future[Any] = Future(new_id(), session.scope())
    session.watch(future)
    outcome = failed(future.run_id)
    order: list[str] = []
    session.in_flight.ends.say = lambda outcomes: order.append(f"said {len(outcomes)}")
    future.when_settled(lambda: order.append("settled"))
    for _ in range(2):
        results = pb.ResultBatch(others=[outcome, outcome])
        session.in_flight.on_frame(pb.SessionFrame(results=results))
    assert order == ["said 1", "settled"]


def test_what_nobody_awaits_is_not_said() -> None:
    ends = Ends()
    ends.say = lambda outcomes: (_ for _ in ()).throw(AssertionError)
    assert ends.settle({}, [failed(new_id())]) == []


def test_sessions_inside_tasks_say_nothing() -> None:
    assert Session(lambda: "nowhere").in_flight.ends.say is not None
    assert Session(lambda: "nowhere", new_id()).in_flight.ends.say is None
    assert Session(lambda: "nowhere").in_flight.hello().says_ends


def test_logs_of_a_frame_come_before_its_outcomes(session: LoopbackSession) -> None:
    order: list[str] = []
    session.in_flight.said.show = lambda logs, output: order.append("logs")
    session.in_flight.ends.say = lambda outcomes: order.append("end")
    future: Future[Any] = Future(new_id(), session.scope())
    session.watch(future)
    frame = pb.SessionFrame(
        logs=pb.LogBatch(run_ids=[b""]), results=pb.ResultBatch(others=[failed(future.run_id)])
    )
    session.in_flight.on_frame(frame)
    assert order == ["logs", "end"]
