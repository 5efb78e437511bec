"""The client's stream over a real socket: greetings, broken streams, a server that is not there."""

import gc
import os
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.programs import eventually
from support.scripted_sessions import ScriptedServer

from taskyard._engine.submission.scope import Scope
from taskyard._engine.submission.submitting import submit_one
from taskyard._network.server.calls import Client
from taskyard._network.server.loop_thread import loop_thread
from taskyard._network.session import stream
from taskyard._network.session.in_flight import InFlight
from taskyard._network.session.session import Session
from taskyard.exceptions import ConnectionFailed, TaskyardError
from taskyard.tasks import task
from taskyard_contract.errors import Superseded

SETTINGS = b"\0\0\0\4\0\0\0\0\0"
GOAWAY = b"\0\0\x08\7\0\0\0\0\0" + bytes(8)
"""Frames of HTTP/2, as a server sends them that is about to end."""


@task
def double(x: int) -> int:
    return 2 * x


def address_of(listener: socket.socket) -> str:
    return f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ScriptedServer]:
    scripted = ScriptedServer(f"unix:{tmp_path}/s.sock")
    yield scripted
    scripted.close()


@pytest.fixture
def session(server: ScriptedServer) -> Iterator[Session]:
    opened = Session(lambda: server.address).open()
    yield opened
    opened.close()


def test_a_session_introduces_itself_and_takes_the_servers_limits(
    server: ScriptedServer, session: Session
) -> None:
    (hello,) = server.sessions.hellos
    assert hello.session_id == session.session_id
    assert str(os.getpid()) in hello.client_name
    assert session.max_payload_bytes == 1_000_000


def test_runs_go_out_and_results_come_back(session: Session) -> None:
    scope = Scope(session)
    futures = [submit_one(double, scope, (n,), {}) for n in range(1500)]
    assert [future.result(10) for future in futures] == [2 * n for n in range(1500)]


def test_a_broken_stream_is_not_noticed(server: ScriptedServer, session: Session) -> None:
    scope = Scope(session)
    server.sessions.break_after = 0
    futures = [submit_one(double, scope, (n,), {}) for n in range(20)]
    assert [future.result(10) for future in futures] == [2 * n for n in range(20)]
    assert len(server.sessions.hellos) == 2
    assert len({hello.session_id for hello in server.sessions.hellos}) == 1
    assert len(set(server.sessions.submitted)) == 20


def test_a_server_that_was_away_is_found_again(
    server: ScriptedServer, session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    scope = Scope(session)
    assert submit_one(double, scope, (1,), {}).result(10) == 2
    server.stop()
    future = submit_one(double, scope, (2,), {})
    assert future.wait(0.05) is None
    server.restart()
    assert future.result(10) == 4


def test_a_server_that_accepts_and_says_nothing_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HELLO_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        session = Session(lambda: address_of(silent))
        session.patience = 0.1
        with pytest.raises(ConnectionFailed):
            session.open()
        silent.settimeout(10.0)  # gRPC itself gives up after 20
        for accepted in [silent.accept()[0] for _ in range(3)]:
            accepted.close()
        session.close()


def test_a_call_to_a_server_that_ends_fails_at_once() -> None:
    """One that is told to end says goodbye in its first breath, and keeps the connection for a while."""
    with socket.create_server(("127.0.0.1", 0)) as ending, Client(address_of(ending), seconds=30.0) as client:
        ending.settimeout(30.0)
        with ThreadPoolExecutor(1) as pool:
            asking = pool.submit(client.get_run, bytes(16))
            with ending.accept()[0] as connection:
                connection.sendall(SETTINGS + GOAWAY)
                with pytest.raises(ConnectionFailed, match="GOAWAY"):
                    asking.result(40)


def test_a_session_ends_with_a_goodbye(server: ScriptedServer) -> None:
    session = Session(lambda: server.address).open()
    submit_one(double, Scope(session), (1,), {}).result(10)
    session.close()
    assert server.sessions.goodbyes == 1


def test_a_server_that_is_not_there_is_an_error_at_the_first_use(tmp_path: Path) -> None:
    session = Session(lambda: f"unix:{tmp_path}/nobody.sock")
    session.patience = 0.3
    with pytest.raises(ConnectionFailed, match=r"no control plane answered at unix:.*nobody\.sock"):
        session.open()
    session.close()


def test_an_address_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="not a server address"):
        Session(lambda: "host:port").open()


def test_an_opening_that_was_interrupted_is_taken_up_again(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(lambda: server.address)
    run = loop_thread.run

    def interrupted(work: Coroutine[Any, Any, None]) -> None:
        run(work)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop_thread, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            session.open()
    session.open()
    assert submit_one(double, Scope(session), (1,), {}).result(10) == 2
    session.close()
    assert len(server.sessions.hellos) == 1, "two streams of one session would fight for its place"


def test_threads_that_outlive_the_main_thread_can_connect(server: ScriptedServer) -> None:
    program = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
from taskyard._network.session.session import Session

def late():
    pool = ThreadPoolExecutor(1)
    try:
        while True:
            pool.submit(int).result()
    except RuntimeError:
        pass  # the main thread has ended
    Session(lambda: sys.argv[1]).open().close()

threading.Thread(target=late).start()
"""
    subprocess.run([sys.executable, "-c", program, server.address], check=True, timeout=30)
    assert server.sessions.goodbyes == 1


@pytest.mark.parametrize("method", ["next_frame", "_settle"], ids=["sending", "receiving"])
def test_a_defect_on_the_way_is_an_error_for_those_who_wait(
    session: Session, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def broken(*_: object) -> None:
        raise LookupError("a defect")

    monkeypatch.setattr(session.in_flight, method, broken)
    with pytest.raises(TaskyardError, match=r"broke down in this process \(LookupError: a defect\)"):
        # The stream may look for a first frame, and find the defect, before anything is submitted.
        submit_one(double, Scope(session), (1,), {}).result(10)


def test_a_server_that_cannot_be_located_any_more_is_an_error_for_those_who_wait(
    server: ScriptedServer, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def homeless() -> str:
        raise RuntimeError("this user has no home directory")

    server.sessions.execute = False
    future = submit_one(double, Scope(session), (1,), {})
    monkeypatch.setattr(session.in_flight, "locate", homeless)
    server.stop()
    with pytest.raises(TaskyardError, match="no home directory"):
        future.result(10)


def test_a_session_that_cannot_go_on_gives_up_its_lease(server: ScriptedServer, session: Session) -> None:
    session.fail(Superseded("another process has its queue"))
    eventually(lambda: server.sessions.goodbyes, "the goodbye")


def test_a_session_that_was_closed_is_not_kept(server: ScriptedServer) -> None:
    session = Session(lambda: server.address).open()
    session.close()
    kept = weakref.ref(session)
    del session
    gc.collect()
    assert kept() is None


def test_threads_may_submit_at_the_same_time(session: Session) -> None:
    scope, values = Scope(session), list[int]()

    def submit(base: int) -> None:
        futures = [submit_one(double, scope, (base + n,), {}) for n in range(200)]
        values.extend(future.result(10) for future in futures)

    threads = [threading.Thread(target=submit, args=(1000 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(values) == sorted(2 * (1000 * t + n) for t in range(4) for n in range(200))
    assert isinstance(session.in_flight, InFlight)
    assert not session.in_flight.outstanding()
