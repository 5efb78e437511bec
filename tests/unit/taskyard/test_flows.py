"""How flow runs are recorded and how they end: section B11 and table A3."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.loopback import LoopbackSession

from taskyard._engine.submission.scope import current_scope
from taskyard.context import FlowRunContext, get_run_context
from taskyard.exceptions import (
    CancelledRun,
    ConfigurationError,
    ConnectionFailed,
    CrashedRun,
    ParameterBindError,
    ParameterTypeError,
    UpstreamTaskError,
)
from taskyard.flows import flow
from taskyard.states import Cancelled, Completed, Failed, State
from taskyard.task_runners import AgentTaskRunner
from taskyard.tasks import task
from taskyard.utilities.annotations import allow_failure
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract import pickling
from taskyard_contract.encodings import encode_as
from taskyard_contract.states import FlowEvent, RunState, StateReason

STARTED, SUCCEEDED, FAILED = FlowEvent.STARTED, FlowEvent.SUCCEEDED, FlowEvent.FAILED


@task
def add(a: int, b: int = 1) -> int:
    return a + b


@task
def fail(text: str) -> None:
    raise ValueError(text)


def last_report(session: LoopbackSession) -> pb.FlowReport:
    return session.script.reports[-1]


def deciding(session: LoopbackSession, *states: RunState) -> None:
    """Answer reports of ended attempts with these states, one after the other."""
    answers = iter(states)

    def decide(report: pb.FlowReport) -> pb.FlowDecision:
        started = report.event == STARTED
        state = RunState.RUNNING if started else next(answers)
        return pb.FlowDecision(run_id=report.run_id, state=state, attempt=2)  # type: ignore[arg-type]

    session.script.decide = decide


def test_a_value_completes_the_flow(session: LoopbackSession) -> None:
    @flow
    def main(n: int) -> int:
        return sum(add.map(range(n)).result())

    assert main(3) == 6
    assert session.script.flow_events == [STARTED, SUCCEEDED]
    assert pickling.loads(last_report(session).result.data) == 6


def test_an_exception_fails_the_flow_and_is_raised_itself(session: LoopbackSession) -> None:
    error = RuntimeError("boo")

    @flow
    def main() -> None:
        raise error

    with pytest.raises(RuntimeError) as caught:
        main()
    assert caught.value is error
    report = last_report(session)
    assert (report.event, report.failure.type) == (FAILED, "RuntimeError")
    assert report.message == "Flow run encountered an exception RuntimeError: boo"


def test_return_state_does_not_raise(session: LoopbackSession) -> None:
    @flow
    def main() -> None:
        raise KeyError("k")

    state = main(return_state=True)
    assert state.is_failed()
    assert isinstance(state.result(raise_on_failure=False), KeyError)


@pytest.mark.parametrize(
    ("returned", "event"),
    [(Completed(data=1), SUCCEEDED), (Failed(message="by hand"), FAILED), (Cancelled(), FlowEvent.CANCELLED)],
)
def test_b11_1_a_state_made_by_hand_is_taken_as_given(
    session: LoopbackSession, returned: Any, event: FlowEvent
) -> None:
    main = flow(name="f")(lambda: returned)
    for _ in range(2):  # the body may return the same object each time
        state = main(return_state=True)
        assert (state.type, state.name, state.message) == (returned.type, returned.name, returned.message)
        assert state.data == returned.data
        assert last_report(session).event == event
        assert returned.state_details.flow_run_id is None


@pytest.mark.parametrize("body", [lambda: 1, lambda: 1 / 0, lambda: Completed(data=1)])
def test_b1_3_the_state_of_a_flow_run_names_it(session: LoopbackSession, body: Callable[[], Any]) -> None:
    seen: list[State[Any]] = []

    def hook(of: Any, run: Any, state: State[Any]) -> None:
        assert state.state_details.flow_run_id == run.id
        seen.append(state)

    main = flow(name="f", on_running=[hook], on_completion=[hook], on_failure=[hook])(body)
    state = main(return_state=True)
    assert seen[-1] is state
    assert len(seen) == 2


def test_b11_1_the_state_of_a_subflow_decides(session: LoopbackSession) -> None:
    @flow
    def inner() -> None:
        raise ValueError("x")

    @flow
    def outer() -> Any:
        return inner(return_state=True)

    state = outer(return_state=True)
    assert (state.is_failed(), state.message) == (True, "1/1 states failed.")
    assert state.data.state_details.flow_run_id != state.state_details.flow_run_id
    with pytest.raises(ValueError, match="x"):
        outer()


def test_b11_1_states_of_runs_decide(session: LoopbackSession) -> None:
    @flow
    def main() -> Any:
        return [add.submit(1), fail.submit("x")]

    state = main(return_state=True)
    assert (state.is_failed(), state.message) == (True, "1/2 states failed.")
    with pytest.raises(ValueError, match="x"):
        main()


def test_b11_1_a_failed_run_does_not_fail_a_flow_that_returns_a_value(session: LoopbackSession) -> None:
    @flow
    def main() -> str:
        fail.submit("x")
        return "fine"

    assert main() == "fine"


def test_b11_2_all_runs_decide_when_asked_to(session: LoopbackSession) -> None:
    @flow(final_state="all")
    def main(bad: bool) -> None:
        add.submit(1)
        if bad:
            fail.submit("x")

    assert main(False, return_state=True).is_completed()
    assert main(True, return_state=True).message == "1/2 states failed."


def test_c9_the_flow_waits_for_what_it_submitted(session: LoopbackSession) -> None:
    session.script.execute = False
    held: list[Any] = []

    @flow
    def main() -> str:
        held.append(add.submit(1))
        results = pb.ResultBatch(run_ids=[held[0].run_id], data=[pickling.dumps(2)])
        ended = pb.SessionFrame(results=results)
        threading.Timer(0.01, lambda: session.in_flight.on_frame(ended)).start()
        return "value"

    assert main() == "value"
    assert held[0].done()


def test_b11_4_a_retry_runs_the_body_again_in_the_same_run(session: LoopbackSession) -> None:
    deciding(session, RunState.AWAITING_RETRY, RunState.COMPLETED)
    attempts: list[tuple[Any, int]] = []

    @flow(retries=1)
    def main() -> str:
        run = get_run_context().run
        attempts.append((run.id, run.run_count))
        if len(attempts) == 1:
            raise ValueError("again")
        return "done"

    assert main() == "done"
    assert session.script.flow_events == [STARTED, FAILED, STARTED, SUCCEEDED]
    assert attempts[0][0] == attempts[1][0]
    assert [count for _, count in attempts] == [1, 2]


def test_b11_6_a_timeout_fails_the_flow(session: LoopbackSession) -> None:
    @flow(timeout_seconds=0.01)
    def main() -> None:
        time.sleep(30)

    state = main(return_state=True)
    assert (state.name, state.is_failed()) == ("TimedOut", True)
    assert last_report(session).reason == StateReason.TIMED_OUT
    with pytest.raises(TimeoutError, match="exceeded timeout"):
        main()


def test_an_interrupt_crashes_the_flow_and_cancels_its_runs(session: LoopbackSession) -> None:
    session.script.execute = False
    submitted: list[bytes] = []

    @flow
    def main() -> None:
        submitted.append(add.submit(1).run_id)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        main()
    assert session.script.cancelled == submitted
    report = last_report(session)
    assert (report.event, report.reason) == (FlowEvent.INTERRUPTED, StateReason.INTERRUPTED)


def test_b11_7_a_termination_signal_crashes_the_flow_and_ends_the_program(session: LoopbackSession) -> None:
    import signal

    @flow
    def main() -> None:
        signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 143
    assert last_report(session).event == FlowEvent.INTERRUPTED


def test_a_requested_cancellation_ends_the_body(session: LoopbackSession) -> None:
    @flow
    def main() -> None:
        run_id = get_run_context().run.raw_id
        cancel = pb.SessionFrame(cancel_requests=[run_id])
        threading.Timer(0.01, lambda: session.in_flight.on_frame(cancel)).start()
        time.sleep(30)

    with pytest.raises(CancelledRun, match="was cancelled"):
        main()
    report = last_report(session)
    assert (report.event, report.reason) == (FlowEvent.CANCELLED, StateReason.CANCEL_REQUESTED)
    session.in_flight.on_frame(
        pb.SessionFrame(cancel_requests=[report.run_id])
    )  # too late: nobody is stopped


def test_a_cancellation_that_was_faster_than_the_body_counts(session: LoopbackSession) -> None:
    deciding(session, RunState.CANCELLED)
    assert flow(lambda: 1)(return_state=True).is_cancelled()


def test_a_session_that_was_given_up_crashes_its_flow(session: LoopbackSession) -> None:
    deciding(session, RunState.CRASHED)
    with pytest.raises(CrashedRun, match="out of contact"):
        flow(lambda: 1)()


def test_row_61_parameters_are_converted_and_checked(session: LoopbackSession) -> None:
    @flow
    def main(n: int, name: str = "x") -> Any:
        return n, name

    assert main("3") == (3, "x")  # type: ignore[arg-type]
    with pytest.raises(ParameterTypeError):
        main("three")  # type: ignore[arg-type]
    assert last_report(session).event == FAILED
    assert flow(validate_parameters=False)(main.fn)("three")[0] == "three"  # type: ignore[arg-type]


def test_arguments_that_do_not_fit_make_no_run(session: LoopbackSession) -> None:
    with pytest.raises(ParameterBindError):
        flow(lambda: 1)(5)
    assert session.script.flow_events == []


def test_row_63_a_subflow_is_a_child_of_its_flow_run(session: LoopbackSession) -> None:
    parents: list[Any] = []

    @flow
    def inner(x: int) -> int:
        parents.append(get_run_context().run.parent_run_id)
        return x + 1

    @flow
    def outer() -> Any:
        return inner(add.submit(1)), get_run_context().run.id  # type: ignore[arg-type]

    value, own_id = outer()
    assert value == 3
    assert parents == [own_id]


def test_a_subflow_does_not_start_after_a_failed_upstream_run(session: LoopbackSession) -> None:
    inner = flow(name="inner")(lambda x: repr(x))

    @flow
    def outer() -> Any:
        bad = fail.submit("x")
        with pytest.raises(UpstreamTaskError, match="did not reach a 'COMPLETED' state"):
            inner(1, wait_for=[bad])
        return inner(allow_failure(bad))

    assert outer() == "ValueError('x')"


def test_names_of_runs(session: LoopbackSession) -> None:
    @flow(flow_run_name="run-{n}")
    def main(n: int) -> str:
        context = FlowRunContext.get()
        assert context is not None
        return context.flow_run.name

    assert main(4) == "run-4"
    adjective, _, animal = main.with_options(flow_run_name=lambda: "a-b")(1).partition("-")
    assert (adjective, animal) == ("a", "b")


def test_row_64_hooks_follow_the_final_state(session: LoopbackSession) -> None:
    seen: list[str] = []

    @flow(on_completion=[lambda f, r, s: seen.append(f"{f.name} {s.name}")])
    def main(error: bool) -> None:
        if error:
            raise ValueError

    @main.on_failure
    async def failed(of: Any, run: Any, state: Any) -> None:
        seen.append(f"{run.name and of.name} {state.name}")

    @main.on_running
    def raising(of: Any, run: Any, state: Any) -> None:
        raise RuntimeError("hook")

    main(False)
    main(True, return_state=True)
    assert seen == ["main Completed", "main Failed"]


def test_async_flows(session: LoopbackSession) -> None:
    @flow
    async def main(n: int) -> Any:
        first = await add.submit(n)
        return first, [add.submit(5)]

    value, states = asyncio.run(main(1))  # type: ignore[arg-type]
    assert (value, len(states)) == (2, 1)
    assert session.script.flow_events == [STARTED, SUCCEEDED]


def test_async_flows_time_out_and_fail(session: LoopbackSession) -> None:
    @flow(timeout_seconds=0.01)
    async def slow() -> None:
        await asyncio.sleep(30)

    @flow
    async def bad() -> None:
        raise TimeoutError("its own")

    assert asyncio.run(slow(return_state=True)).name == "TimedOut"
    with pytest.raises(TimeoutError, match="its own"):
        asyncio.run(bad())
    assert last_report(session).reason == StateReason.NONE


def test_an_async_flow_ends_when_its_cancellation_is_requested(session: LoopbackSession) -> None:
    @flow
    async def main() -> None:
        run_id = get_run_context().run.raw_id
        cancel = pb.SessionFrame(cancel_requests=[run_id])
        threading.Timer(0.01, lambda: session.in_flight.on_frame(cancel)).start()
        await asyncio.sleep(30)

    with pytest.raises(CancelledRun):
        asyncio.run(main())
    assert last_report(session).event == FlowEvent.CANCELLED


def test_a_cancelled_asyncio_task_crashes_its_flow(session: LoopbackSession) -> None:
    @flow
    async def main() -> None:
        await asyncio.sleep(30)

    async def program() -> None:
        work = asyncio.ensure_future(main())
        await asyncio.sleep(0.01)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    asyncio.run(program())
    assert last_report(session).event == FlowEvent.INTERRUPTED


def test_generators_are_collected(session: LoopbackSession) -> None:
    @flow
    def main() -> Iterator[int]:
        yield from range(3)

    assert main() == [0, 1, 2]  # type: ignore[comparison-overlap]


def test_a_value_that_cannot_be_recorded_is_still_returned(session: LoopbackSession) -> None:
    lock = threading.Lock()
    assert flow(lambda: lock)() is lock
    assert not last_report(session).HasField("result")


def test_a_large_value_is_recorded_as_a_blob(session: LoopbackSession) -> None:
    assert len(flow(lambda: b"x" * 200_000)()) == 200_000
    assert last_report(session).result.HasField("blob")


def test_methods_can_be_flows(session: LoopbackSession) -> None:
    class Pipeline:
        factor = 2

        @flow
        def run(self, x: int) -> int:
            return self.factor * x

    assert Pipeline().run(4) == 8  # type: ignore[call-arg, arg-type]


def test_row_62_the_context_of_a_flow_has_a_duplicate_of_its_task_runner(session: LoopbackSession) -> None:
    runner = AgentTaskRunner()

    @flow(task_runner=runner)
    def main() -> bool:
        context = FlowRunContext.get()
        assert context is not None
        return context.task_runner == runner and context.task_runner is not runner

    assert main()


def test_a_flow_whose_value_cannot_be_stored_completes_with_it(
    session: LoopbackSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def upload(ref: Any, pieces: Any) -> Any:
        raise ConnectionFailed("the server is restarting")

    monkeypatch.setattr(session.stored, "upload", upload)
    value = b"x" * 200_000
    assert flow(lambda: value)() is value
    assert (last_report(session).event, last_report(session).HasField("result")) == (SUCCEEDED, False)


def test_an_exception_that_a_flow_returns_is_its_value_and_no_failure(session: LoopbackSession) -> None:
    error = ValueError("a value")
    assert flow(lambda: error)() is error
    assert not last_report(session).HasField("failure")


def test_a_value_is_written_once_in_the_encoding_of_its_flow(
    session: LoopbackSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Any] = []

    def write(value: Any, encoding: str) -> bytes:
        written.append(value)
        return encode_as(value, encoding)

    monkeypatch.setattr("taskyard._engine.flow_runs.flow_reports.encode_as", write)

    @flow(result_encoding="json")
    def plain() -> list[int]:
        return [1, 2]

    assert plain() == [1, 2]
    assert written == [[1, 2]]


@pytest.mark.parametrize("code", ["docker", "", [""], [1], 7])
def test_what_a_flow_says_of_its_code_is_checked(code: Any) -> None:
    with pytest.raises(ConfigurationError, match="flow 'f' has code="):

        @flow(name="f", code=code)
        def f() -> None: ...


def test_flows_inherit_what_is_said_of_their_code(session: LoopbackSession) -> None:
    said: list[object] = []

    def note() -> None:
        scope = current_scope()
        assert scope is not None
        said.append(scope.code)

    silent, own = flow(name="silent")(note), flow(name="own", code=["b"])(note)

    @flow(code="image")
    def outer() -> None:
        note()
        silent()
        own()

    outer()
    silent()
    assert said == ["image", "image", ("b",), ()]
