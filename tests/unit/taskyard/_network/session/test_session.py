"""A session that has ended is an error to those who use it, and is replaced for those who come after."""

import os
from types import SimpleNamespace

import pytest

from taskyard._engine.submission.scope import Scope
from taskyard._network.session import sessions
from taskyard._network.session.session import Session
from taskyard._network.session.sessions import current_session
from taskyard.exceptions import ConnectionFailed
from taskyard.futures import Future
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.errors import Superseded
from taskyard_contract.id_factory import new_id
from taskyard_contract.log_entry import add_to


async def _said() -> None:
    """Goodbye."""


def unconnected() -> Session:
    session = Session(lambda: "nowhere")
    session._stream = SimpleNamespace(close=_said, wake=lambda: None, leave=lambda: None)  # type: ignore[assignment]
    return session


def test_closing_fails_what_is_awaited() -> None:
    session = unconnected()
    future: Future[int] = Future(new_id(), Scope(session))
    session.watch(future)
    session.close()
    with pytest.raises(ConnectionFailed, match="was closed"):
        future.result(0)


def test_a_session_that_cannot_go_on_takes_nothing_more() -> None:
    session = unconnected()
    session.fail(Superseded("another process has this session"))
    with pytest.raises(Superseded):
        session.cancel([new_id()])
    with pytest.raises(Superseded):
        session.watch(Future(new_id(), Scope(session)))
    with pytest.raises(Superseded):
        session.open()


def test_a_session_that_ends_while_somebody_waits_for_its_opening_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = unconnected()

    def wait(timeout: float) -> bool:
        session.fail(Superseded("another process has this session"))
        return True

    monkeypatch.setattr(session.in_flight.opened, "wait", wait)
    with pytest.raises(Superseded):
        session.open()


def test_a_run_waits_for_a_server_as_long_as_its_agent_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that finds none is told soon; a worker has an agent that found one."""
    waited: list[float] = []
    for session in (Session(lambda: "nowhere:1"), Session(lambda: "nowhere:1", caller_run_id=new_id())):
        session._stream = SimpleNamespace()  # type: ignore[assignment]
        monkeypatch.setattr(session.in_flight.opened, "wait", waited.append)
        with pytest.raises(ConnectionFailed, match=f"within {session.patience:g} seconds"):
            session.open()
    assert waited == [15, 600]


def test_the_next_call_gets_another_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKYARD_SERVER", "127.0.0.1:1")
    monkeypatch.setattr(sessions, "_sessions", {})
    monkeypatch.setattr(Session, "open", lambda self: self)
    first = current_session()
    assert current_session() is first
    first.fail(Superseded("another process has this session"))
    assert current_session() is not first


def test_a_forked_child_has_no_sessions_of_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_sessions", {"here": unconnected()})
    pid = os.fork()
    if pid == 0:
        os._exit(len(sessions._sessions))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_log_handler_that_raises_keeps_nobody_from_results(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("taskyard.logging.output.show", full)
    session = unconnected()
    future: Future[int] = Future(new_id(), Scope(session))
    session.watch(future)
    frame = pb.SessionFrame(results=pb.ResultBatch(run_ids=[future.run_id], data=[b""]))
    add_to(frame.logs, (new_id(), 0, 20, "taskyard.task_runs", "text", "name"))
    session.in_flight.on_frame(frame)
    assert future.done()
    assert "OSError: the disk is full" in capsys.readouterr().err, "it is not kept secret"
