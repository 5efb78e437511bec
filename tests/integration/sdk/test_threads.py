"""`ThreadPoolTaskRunner` against a real control plane: same records, nothing leaves the process."""

import asyncio
import threading
import time
from typing import Any

import pytest
from support.plane_and_agent import Plane

from taskyard import Completed, Failed, allow_failure, flow, task, task_input_hash
from taskyard._engine.flow_runs.task_runners import runner_of
from taskyard._network.server.calls import Client
from taskyard.context import get_run_context
from taskyard.exceptions import CancelledRun, ConfigurationError, FailedRun
from taskyard.task_runners import AgentTaskRunner, ThreadPoolTaskRunner

THREADS = ThreadPoolTaskRunner(max_workers=2)


@task
def identity(value: Any) -> Any:
    return value


@task
def fail(error: Exception) -> None:
    raise error


def test_values_that_cannot_be_pickled_stay_the_same_objects(plane: Plane) -> None:
    lock = threading.Lock()

    @flow(task_runner=THREADS)
    def main() -> bool:
        first = identity.submit([lock])
        return identity({"deep": first})["deep"][0] is lock and identity(lock) is lock

    assert main()


def test_direct_calls_run_in_the_calling_thread(plane: Plane) -> None:
    @task
    def where() -> int:
        return threading.get_ident()

    @flow(task_runner=THREADS)
    def main() -> tuple[bool, bool]:
        here = threading.get_ident()
        return where() == here, where.submit().result() == here

    assert main() == (True, False)


def test_exceptions_are_the_very_objects(plane: Plane) -> None:
    error = ValueError("mine")

    @task
    def fail_with_mine() -> None:
        raise error

    @flow(task_runner=THREADS)
    def main() -> tuple[bool, str]:
        with pytest.raises(ValueError, match="mine") as caught:
            fail_with_mine()
        bad = fail_with_mine.submit()
        waiting = identity.submit(bad).wait()
        assert waiting is not None
        assert identity(allow_failure(bad)) is error
        return caught.value is error, waiting.name

    assert main() == (True, "NotReady")


@pytest.mark.parametrize("runner", [THREADS, AgentTaskRunner()], ids=["threads", "agents"])
def test_states_among_arguments_arrive_as_values(plane: Plane, runner: Any) -> None:
    @flow(task_runner=runner)
    def main() -> tuple[list[Any], str, str]:
        done = identity.submit(1).wait()
        bad = fail.submit(ValueError("bad")).wait()
        values = [identity.submit(state).result() for state in (done, Completed(data="by hand"))]
        values += [identity(done), identity.submit(value=done).result(), *identity.map([done]).result()]
        with pytest.raises(FailedRun, match=r"^by hand$"):
            identity.submit(Failed(message="by hand"))
        refused = identity.submit(bad).wait()
        assert refused is not None
        return values, refused.name, str(refused.message)

    values, name, message = main()
    assert values == [1, "by hand", 1, 1, 1]
    assert (name, "did not reach a 'COMPLETED' state" in message) == ("NotReady", True)


def test_a_state_of_an_open_run_is_waited_for(plane: Plane) -> None:
    go = threading.Event()

    @task
    def opened(value: Any) -> Any:
        assert go.wait(10)
        return value

    @flow(task_runner=THREADS)
    def main() -> Any:
        waiting = identity.submit(opened.submit(lock).state)
        go.set()
        return waiting.result() is lock

    lock = threading.Lock()
    assert main()


def test_maps_retries_and_caching_work_as_with_agents(plane: Plane) -> None:
    attempts: list[int] = []
    computed: list[str] = []

    @task(retries=2)
    def flaky() -> int:
        attempts.append(1)
        if len(attempts) < 3:
            raise OSError("again")
        return len(attempts)

    @task(cache_key_fn=task_input_hash)
    def once(key: str) -> str:
        computed.append(key)
        return key

    @flow(task_runner=THREADS)
    def main() -> None:
        assert identity.map(range(100)).result() == list(range(100))
        assert flaky() == 3
        key = f"{time.time()}"
        assert [once(key), once(key), once(identity.submit(key))] == [key] * 3

    main()
    assert len(computed) == 1


def test_tasks_that_wait_for_tasks_do_not_hold_a_worker(plane: Plane) -> None:
    @task
    def countdown(n: int) -> int:
        return 0 if n == 0 else 1 + countdown.submit(n - 1).result()

    @flow(task_runner=THREADS)
    def main() -> int:
        return countdown.submit(6).result()

    assert main() == 6


def test_a_timeout_interrupts_python_code(plane: Plane) -> None:
    @task(timeout_seconds=0.1)
    def slow() -> None:
        while True:
            time.sleep(0.01)

    @flow(task_runner=THREADS)
    def main() -> str:
        state = slow.submit().wait()
        assert state is not None
        return state.name

    assert main() == "TimedOut"


def test_running_and_waiting_runs_can_be_cancelled(plane: Plane) -> None:
    @task
    def slow() -> None:
        while True:
            time.sleep(0.01)

    @flow(task_runner=THREADS)
    def main() -> list[str]:
        futures = [slow.submit() for _ in range(4)]
        time.sleep(0.1)
        for future in futures:
            future.cancel()
        return [future.wait(10).name for future in futures]  # type: ignore[union-attr]

    assert main() == ["Cancelled"] * 4


def test_async_tasks_run_in_threads(plane: Plane) -> None:
    @task
    async def double(x: int) -> int:
        return 2 * x

    @flow(task_runner=THREADS)
    def main() -> list[int]:
        return double.map([1, 2, 3]).result()

    assert main() == [2, 4, 6]


def test_subflows_inherit_the_runner(plane: Plane) -> None:
    lock = threading.Lock()

    @flow
    def inner() -> Any:
        return identity(lock)

    @flow(task_runner=THREADS)
    def outer() -> Any:
        return inner()

    assert outer() is lock


def test_labels_of_agents_play_no_role_in_threads(plane: Plane) -> None:
    @flow(task_runner=THREADS)
    def main() -> tuple[int, int]:
        picky = identity.with_options(agent_labels={"gpu": "nowhere"})
        return picky.submit(1).result(), picky(2)

    assert main() == (1, 2)


def test_the_environment_chooses_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    from taskyard._engine.submission.scope import Scope

    assert isinstance(runner_of(None, Scope()), AgentTaskRunner)
    monkeypatch.setenv("TASKYARD_TASK_RUNNER", "threads")
    assert isinstance(runner_of(None, Scope()), ThreadPoolTaskRunner)
    monkeypatch.setenv("TASKYARD_TASK_RUNNER", "dask")
    with pytest.raises(ConfigurationError, match="expected one of agents, threads"):
        runner_of(None, Scope())
    with pytest.raises(TypeError, match="must be a task runner"):
        runner_of(5, Scope())
    with pytest.raises(ValueError, match="at least 1"):
        ThreadPoolTaskRunner(max_workers=0)


def spin(calls: list[float]) -> None:
    """Keep a thread busy for longer than anybody waits for it."""
    calls.append(time.monotonic())
    while time.monotonic() < calls[-1] + 10:
        time.sleep(0.01)


def test_the_end_of_a_flows_time_ends_what_it_calls_directly_and_the_flow(plane: Plane) -> None:
    calls: list[float] = []

    @task(retries=3)
    def slow() -> None:
        spin(calls)

    @flow(task_runner=THREADS, timeout_seconds=0.3)
    def main() -> None:
        slow(return_state=True)
        slow(return_state=True)

    assert main(return_state=True).name == "TimedOut"
    assert len(calls) == 1


def test_a_flow_that_another_one_calls_does_not_keep_the_end_of_its_time(plane: Plane) -> None:
    calls: list[float] = []

    @flow(timeout_seconds=30, retries=1)
    def inner() -> None:
        spin(calls)

    @flow(timeout_seconds=0.3)
    def outer() -> None:
        inner(return_state=True)
        inner(return_state=True)

    assert outer(return_state=True).name == "TimedOut"
    assert len(calls) == 1


# It may be raised while Python's own code has a file open, which then warns.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_cancellation_of_a_flow_ends_what_it_calls_directly_and_the_flow(plane: Plane) -> None:
    @task
    def slow(flow_run_id: bytes) -> None:
        with Client(plane.address) as client:
            client.cancel_run(flow_run_id)
        spin([])

    @flow(task_runner=THREADS)
    def main() -> None:
        # The end of the task may be heard of before that of the flow, so that another one starts.
        while True:
            slow(get_run_context().run.raw_id, return_state=True)

    with pytest.raises(CancelledRun):
        main()


def test_an_asynchronous_task_is_ended_by_its_timeout_where_it_waits(
    plane: Plane, capsys: pytest.CaptureFixture[str]
) -> None:
    cleaned: list[bool] = []

    @task(timeout_seconds=0.1)
    async def sleeps() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cleaned.append(True)

    @flow(task_runner=THREADS)
    def main() -> tuple[str, str | None, str]:
        state = sleeps.submit(return_state=True)
        return state.name, state.message, str(state.result(raise_on_failure=False))

    started = time.monotonic()
    text = "the attempt exceeded its timeout of 0.1 seconds and was ended"
    assert main() == ("TimedOut", text, text)
    assert time.monotonic() - started < 30
    assert cleaned == [True]
    shown = capsys.readouterr().err
    assert f"Finished in state TimedOut('{text}'" in shown, "the log says what the state says"
