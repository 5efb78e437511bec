"""What the user's threads do while the loop's thread replaces a stream, or ends the session, is not lost.

Each test stands still in the middle of one of the two and lets the other go on there.
"""

from collections.abc import Callable, Iterator

import pytest
from support.loopback import LoopbackSession

from taskyard._data.values.awaited import AwaitedRun
from taskyard._engine.submission.mapping import expand
from taskyard._engine.submission.scope import Scope
from taskyard._engine.submission.submitting import submit_many, submit_one
from taskyard._network.session.in_flight import InFlight
from taskyard.futures import Future
from taskyard.tasks import task
from taskyard_api.v1 import errors_pb2
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.errors import ErrorReason, RunNotFound, Superseded
from taskyard_contract.id_factory import new_id


@task
def double(x: int) -> int:
    return 2 * x


@pytest.fixture
def silent(session: LoopbackSession) -> LoopbackSession:
    """A session whose frames nobody takes until the test does."""
    session.silent = True
    return session


class Interrupted(dict[bytes, AwaitedRun]):
    """Runs of which somebody makes a copy, in whatever way, and another thread does something after that."""

    def __init__(self, runs: dict[bytes, AwaitedRun]) -> None:
        super().__init__(runs)
        self.after: list[Callable[[], None]] = []

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.copy())

    def copy(self) -> dict[bytes, AwaitedRun]:
        copied = super().copy()
        while self.after:
            self.after.pop()()
        return copied


def welcome(in_flight: InFlight) -> None:
    in_flight.on_welcome(pb.SessionWelcome())


def unknown(run_id: bytes) -> pb.SessionFrame:
    """What a server answers to whoever asks for a run that it has not heard of."""
    error = errors_pb2.ErrorDetail(reason=ErrorReason.RUN_NOT_FOUND, run_id=run_id)
    return pb.SessionFrame(refused=[pb.RefusedRun(run_id=run_id, error=error)])


def test_a_run_that_is_watched_while_a_stream_is_replaced_is_asked_for(silent: LoopbackSession) -> None:
    in_flight = silent.in_flight
    earlier, later = (Future[int](new_id(), silent.scope()) for _ in range(2))
    silent.watch(earlier)
    in_flight.next_frame()
    runs = in_flight._outstanding = Interrupted(in_flight._outstanding)
    runs.after.append(lambda: silent.watch(later))
    welcome(in_flight)
    frame = in_flight.next_frame()
    assert frame is not None
    assert set(frame.subscribe) == {earlier.run_id, later.run_id}


@pytest.mark.parametrize("sent", [False, True], ids=["queued", "sent"])
def test_a_run_that_is_submitted_while_a_stream_is_replaced_is_no_unknown_one(
    silent: LoopbackSession, monkeypatch: pytest.MonkeyPatch, sent: bool
) -> None:
    in_flight = silent.in_flight
    queue = in_flight._outbox.add_run

    def add_run(*run: object) -> None:
        welcome(in_flight)
        frame = in_flight.next_frame()
        assert frame is not None, "it counts as durable, because it is awaited and waits nowhere"
        [run_id] = frame.subscribe
        queue(*run)  # type: ignore[arg-type]
        if sent:
            in_flight.next_frame()
        in_flight.on_frame(unknown(run_id))

    monkeypatch.setattr(in_flight._outbox, "add_run", add_run)
    assert not submit_one(double, silent.scope(), (1,), {}).done()


def test_a_run_whose_flow_run_nobody_knows_is_an_error_at_once(silent: LoopbackSession) -> None:
    """It is unknown as well, and on its way; but it was refused, and not asked for too early."""
    future = submit_one(double, silent.scope(), (1,), {})
    silent.in_flight.next_frame()
    error = errors_pb2.ErrorDetail(reason=ErrorReason.RUN_NOT_FOUND, run_id=b"f" * 16)
    refused = pb.RefusedRun(run_id=future.run_id, error=error)
    silent.in_flight.on_frame(pb.SessionFrame(refused=[refused]))
    with pytest.raises(RunNotFound):
        future.result(0)


def test_a_run_that_nobody_knows_is_an_error(silent: LoopbackSession) -> None:
    future: Future[int] = Future(new_id(), silent.scope())
    silent.watch(future)
    silent.in_flight.next_frame()
    silent.in_flight.on_frame(unknown(future.run_id))
    with pytest.raises(RunNotFound):
        future.result(0)


def test_results_that_arrive_while_a_session_is_ended_keep_nobody_waiting(silent: LoopbackSession) -> None:
    first, second, third = (submit_one(double, silent.scope(), (n,), {}) for n in range(3))
    results = pb.SessionFrame(results=pb.ResultBatch(run_ids=[second.run_id], data=[b"value"]))
    runs = silent.in_flight._outstanding
    with pytest.MonkeyPatch.context() as patch:

        def arrive() -> None:
            # The loop's thread had taken hold of these runs before the session ended.
            patch.setattr(silent.in_flight, "_outstanding", runs)
            silent.in_flight.on_frame(results)

        first.when_settled(arrive)
        silent.fail(Superseded("another process has this session"))
    assert isinstance(first.outcome, Superseded)
    assert second.outcome == b"value"
    assert isinstance(third.outcome, Superseded)


def one(scope: Scope) -> None:
    submit_one(double, scope, (2,), {})


def many(scope: Scope) -> None:
    submit_many(double, scope, expand(double.signature, ([2, 3],), {}))


@pytest.mark.parametrize("submit", [one, many])
def test_nobody_waits_for_a_run_whose_submission_was_interrupted(
    silent: LoopbackSession, monkeypatch: pytest.MonkeyPatch, submit: Callable[[Scope], None]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    scope = silent.scope()
    earlier = submit_one(double, scope, (1,), {})
    for method in ("add_run", "add"):
        monkeypatch.setattr(silent.in_flight._outbox, method, interrupted)
    with pytest.raises(KeyboardInterrupt):
        submit(scope)
    assert silent.outstanding_of(scope) == [earlier]
