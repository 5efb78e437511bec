"""A process that a program forks has no session: it is told so, and waits for nothing."""

import os
import signal
from types import SimpleNamespace

from taskyard import task
from taskyard._engine.submission.scope import Scope
from taskyard._engine.submission.submitting import submit_one
from taskyard._network.server.loop_thread import loop_thread
from taskyard._network.session.session import Session
from taskyard.exceptions import ConnectionFailed
from taskyard.futures import Future
from taskyard_contract.id_factory import new_id


@task
def double(x: int) -> int:
    return 2 * x


def test_a_forked_child_gets_an_error_each_time() -> None:
    loop_thread.loop()
    session = Session(lambda: "nowhere")
    session._stream = SimpleNamespace(wake=lambda: None)  # type: ignore[assignment]
    scope = Scope(session)
    pid = os.fork()
    if pid == 0:
        codes = 0
        for _ in range(2):
            try:
                submit_one(double, scope, (1,), {}).result(timeout=0.3)
            except ConnectionFailed:
                codes += 1
            except BaseException:  # a timeout
                codes += 10
        os._exit(codes)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 2


def test_a_forked_child_does_not_wait_for_a_future_of_its_parent() -> None:
    session = Session(lambda: "nowhere")
    future: Future[int] = Future(new_id(), Scope(session))
    session.watch(future)
    pid = os.fork()
    if pid == 0:
        try:
            future.result(timeout=0.3)
        except ConnectionFailed:
            os._exit(0)
        except BaseException:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_forked_child_gets_an_error_though_a_thread_was_submitting_when_it_was_forked() -> None:
    session = Session(lambda: "nowhere")
    scope = Scope(session)
    with session.in_flight._outbox._lock:
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(2)
            try:
                submit_one(double, scope, (1,), {})
            except ConnectionFailed:
                os._exit(0)
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
