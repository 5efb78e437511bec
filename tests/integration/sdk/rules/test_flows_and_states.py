"""Rows 60 to 72 and section B11: flows, the states of runs, and what the code of a run knows."""

import threading
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from taskyard import Cancelled, Completed, Failed, flow, tags, task
from taskyard.client.orchestration import SyncTaskyardClient
from taskyard.context import FlowRunContext, TaskRunContext
from taskyard.exceptions import FlowRunTimeoutError, ParameterBindError, ParameterTypeError
from taskyard.runtime import flow_run, task_run
from taskyard.states import State, StateType
from taskyard.task_runners import TaskRunner, ThreadPoolTaskRunner


@task
def add(x: int, y: int = 1) -> int:
    return x + y


@task
def boom(text: str = "boom") -> int:
    raise ValueError(text)


def waits_for(path: Path) -> None:
    """Wait for a file."""
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_row_60_a_flow_that_fails_is_repeated_in_its_run(client: SyncTaskyardClient) -> None:
    seen: list[tuple[str, int]] = []

    @flow(name="second try", retries=1, description="tries twice", version="3")
    def main() -> int:
        seen.append((flow_run.id, flow_run.run_count))
        return add(1) if len(seen) == 2 else boom()

    assert main() == 2
    assert [(run_id, count) for run_id, count in seen] == [(seen[0][0], 1), (seen[0][0], 2)]
    run = client.read_flow_run(seen[0][0])
    assert (run.flow_name, run.flow_version, run.run_count) == ("second try", "3", 2)
    assert (main.name, main.description, main.retries) == ("second try", "tries twice", 1)


def test_row_61_flows_have_timeouts_names_and_typed_parameters() -> None:
    @flow(timeout_seconds=0.1)
    def slow() -> None:
        while True:
            add(1)

    with pytest.raises(FlowRunTimeoutError):
        slow()
    state = slow(return_state=True)
    assert (state.type.value, state.name) == ("FAILED", "TimedOut")
    assert issubclass(FlowRunTimeoutError, TimeoutError)

    @flow(flow_run_name="of {n}")
    def named(n: int) -> Any:
        return flow_run.name, n

    assert named("3") == ("of 3", 3)  # type: ignore[arg-type]
    with pytest.raises(ParameterTypeError, match="- n: "):
        named("three")  # type: ignore[arg-type]
    with pytest.raises(ParameterBindError):
        named(1, 2)  # type: ignore[call-arg]
    assert named.with_options(validate_parameters=False)("3") == ("of 3", "3")  # type: ignore[arg-type]


def test_row_62_each_flow_run_has_its_own_runner() -> None:
    given = ThreadPoolTaskRunner(max_workers=1)
    used: list[TaskRunner] = []

    @flow(task_runner=given)
    def main() -> int:
        context = FlowRunContext.get()
        assert context is not None
        used.append(context.task_runner)
        return add.submit(1).result()

    assert (main(), main()) == (2, 2)
    assert (given.duplicate() == given, used[0] == used[1] == given) == (True, True)
    assert len({id(given), *map(id, used)}) == 3
    with pytest.raises(RuntimeError, match="start"):
        given.submit(add, {"x": 1})


def test_row_63_a_flow_inside_of_a_flow_is_a_run_of_its_own(client: SyncTaskyardClient) -> None:
    @flow(name="inner")
    def inner(x: int) -> Any:
        return flow_run.id, add(x)

    @flow(name="outer")
    def outer() -> Any:
        return flow_run.id, inner(1)

    outer_id, (inner_id, value) = outer()
    assert (value, outer_id == inner_id) == (2, False)
    read = client.read_flow_run(inner_id)
    assert (read.parent_flow_run_id, read.state_name) == (UUID(outer_id), "Completed")


def test_row_64_and_b6_5_hooks_of_flows_are_called_at_their_end() -> None:
    heard: list[str] = []

    def hook(name: str) -> Any:
        return lambda of, run, state: heard.append(f"{name} {of.name} {state.name} {run.run_count}")

    options: Any = {f"on_{name}": [hook(name)] for name in ("running", "completion", "failure", "crashed")}

    @flow(**options, on_cancellation=[hook("cancellation")], retries=1)
    def main(how: str) -> Any:
        if how == "crash":
            raise KeyboardInterrupt
        return {"fail": lambda: boom(), "cancel": lambda: Cancelled()}.get(how, lambda: add(1))()

    assert main("complete") == 2
    assert heard == ["running main Running 1", "completion main Completed 1"]
    heard.clear()
    assert main("fail", return_state=True).is_failed()
    assert heard == ["running main Running 1", "running main Retrying 2", "failure main Failed 2"]
    heard.clear()
    with pytest.raises(KeyboardInterrupt):
        main("crash")
    assert heard[1:] == ["crashed main Crashed 1"]
    with pytest.raises(TypeError, match="on_failure"):
        flow(on_failure="no list")(add.fn)  # type: ignore[call-overload]


def test_row_65_and_b1_5_a_state_says_what_it_is() -> None:
    @flow
    def main() -> Any:
        return add(1, return_state=True), boom(return_state=True), add.submit(boom.submit()).wait()

    good, bad, waiting = _states(main)
    assert (good.type, good.name, good.result()) == (StateType.COMPLETED, "Completed", 2)
    assert (good.is_final(), good.is_completed(), good.is_failed(), good.is_running()) == (
        *[True] * 2,
        *[False] * 2,
    )
    assert isinstance(good.state_details.task_run_id, UUID)
    assert good.timestamp.tzinfo is not None
    assert (bad.is_failed(), bad.is_crashed(), str(bad.data)) == (True, False, "boom")
    assert bad.message == "Task run encountered an exception ValueError: boom"
    assert isinstance(bad.result(raise_on_failure=False), ValueError)
    assert (waiting.is_pending(), waiting.is_final(), waiting.name) == (True, False, "NotReady")


def _states(main: Any) -> list[State[Any]]:
    found: list[State[Any]] = []
    flow(lambda: found.extend(main.fn()))()
    return found


def test_row_66_states_are_final_states_and_failed_ones_are_retried(tmp_path: Path) -> None:
    @task(retries=2)
    def third_time(file: str) -> Any:
        with open(file, "a") as lines:
            lines.write("x")
        return (
            Completed(data="done", name="Third") if len(Path(file).read_text()) == 3 else Failed(message="no")
        )

    state = third_time(str(tmp_path / "lines"), return_state=True)  # type: ignore[call-overload]
    assert (state.name, state.result()) == ("Third", "done")

    @flow
    def main() -> Any:
        return Completed(message="by hand", data=7)

    assert main(return_state=True).message == "by hand"
    assert main() == 7


def test_row_67_attempts_are_added_to_the_history(tmp_path: Path, client: SyncTaskyardClient) -> None:
    @task(retries=1, retry_delay_seconds=0.01)
    def second_time(file: str) -> str:
        if not Path(file).exists():
            Path(file).touch()
            raise ValueError("first")
        return str(task_run.id)

    run_id = second_time(str(tmp_path / "tried"))
    states = client.read_task_run_states(run_id)
    names = [state.name for state in states]
    assert [name for name in names if name != "Pending"] == [
        "Running",
        "AwaitingRetry",
        "Retrying",
        "Completed",
    ]
    assert names[0] == "Pending"
    assert [state.timestamp for state in states] == sorted(state.timestamp for state in states)


def test_row_68_runs_know_what_they_are() -> None:
    @task(name="asked")
    def ask(x: int, y: int = 2) -> Any:
        context = TaskRunContext.get()
        assert context is not None
        told = str(context.task_run.id), str(context.task_run.flow_run_id), dict(context.parameters)
        seen = task_run.id, flow_run.id, task_run.parameters
        return told == seen, task_run.name, task_run.run_count, sorted(task_run.tags), flow_run.id

    @flow
    def main() -> Any:
        with tags("t"):
            return flow_run.id, ask(1), ask.submit(1).result()

    run_id, called, submitted = main()
    assert called == (True, "asked-0", 1, ["t"], run_id)
    assert submitted == (True, "asked-1", 1, ["t"], run_id)
    assert (task_run.id, flow_run.id) == (None, None)


def test_row_70_results_are_there_for_other_programs(client: SyncTaskyardClient) -> None:
    @task
    def large(size: int) -> bytes:
        return b"x" * size

    @flow
    def main() -> Any:
        futures = large.map([10, 300_000])
        return [str(future.task_run_id) for future in futures], [len(value) for value in futures.result()]

    ids, sizes = main()
    assert sizes == [10, 300_000]
    assert [len(client.read_task_run(run_id).state.result()) for run_id in ids] == sizes


def test_row_71_a_cached_run_was_never_running(tmp_path: Path, client: SyncTaskyardClient) -> None:
    @task(cache_key_fn=lambda context, parameters: parameters["file"])
    def once(file: str) -> int:
        with open(file, "a") as lines:
            lines.write("x")
        return len(Path(file).read_text())

    @flow
    def main() -> Any:
        first = once(str(tmp_path / "lines"))
        future = once.submit(str(tmp_path / "lines"))
        return first, future.result(), future.state.name, future.task_run_id

    first, second, name, run_id = main()
    assert (first, second, name) == (1, 1, "Cached")
    states = client.read_task_run_states(run_id)
    assert (states[-1].type, states[-1].name) == (StateType.COMPLETED, "Cached")
    assert "Running" not in [state.name for state in states]


def test_row_72_submitted_runs_go_on_together(tmp_path: Path) -> None:
    @task
    def meets(mine: str, other: str) -> str:
        Path(mine).touch()
        waits_for(Path(other))
        return mine

    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    assert flow(lambda: meets.map([one, two], [two, one]).result())() == [one, two]


def test_b11_5_a_flow_waits_for_what_it_submitted(tmp_path: Path) -> None:
    @task
    def late(path: str) -> None:
        time.sleep(0.05)  # longer than the flow
        Path(path).touch()

    @flow
    def main() -> None:
        late.map([str(tmp_path / name) for name in "ab"])

    main()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_b11_6_a_flow_that_timed_out_may_be_retried() -> None:
    attempts: list[int] = []

    @flow(timeout_seconds=0.2, retries=1)
    def main() -> int:
        attempts.append(1)
        if len(attempts) == 1:
            threading.Event().wait(30)
        return len(attempts)

    assert main() == 2


def test_b11_7_an_exit_crashes_a_flow() -> None:
    states: list[State[Any]] = []

    @flow(on_crashed=[lambda of, run, state: states.append(state)])
    def main() -> None:
        add(1)
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        main()
    assert (states[0].type, states[0].is_final()) == (StateType.CRASHED, True)
