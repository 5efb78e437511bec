"""Sections B3, B6, B12, B13, B16 and B18: how runs go, hooks, results, transactions, drawings."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from taskyard import Failed, flow, task
from taskyard.cache_policies import INPUTS
from taskyard.client.orchestration import SyncTaskyardClient
from taskyard.context import TaskRunContext
from taskyard.exceptions import CrashedRun, NotPicklable, TaskRunTimeoutError
from taskyard.results import ResultStore
from taskyard.runtime import task_run
from taskyard.states import State
from taskyard.transactions import CommitMode, IsolationLevel, Transaction, transaction
from taskyard.utilities.visualization import VisualizationUnsupportedError


@task
def add(x: int, y: int = 1) -> int:
    return x + y


@task
def boom(text: str = "boom") -> int:
    raise ValueError(text)


def noting(file: Path) -> Any:
    """Return a hook that appends a line to a file."""

    def note(of: Any, run: Any, state: State[Any]) -> None:
        with file.open("a") as lines:
            lines.write(f"{state.name}\n")

    return note


def read(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def hooked(file: Path) -> Any:
    return {name: [noting(file)] for name in ("on_running", "on_completion", "on_failure")}


def test_b3_1_and_b6_4_a_run_that_never_began_has_no_hooks_called(tmp_path: Path) -> None:
    watched = add.with_options(**hooked(tmp_path / "hooks"))

    @flow
    def main() -> Any:
        bad = boom.submit()
        states = [watched.submit(bad).wait(), watched.submit(1, wait_for=[bad]).wait()]
        return [state.name for state in states if state], [state.type.value for state in states if state]

    assert main() == (["NotReady"] * 2, ["PENDING"] * 2)
    assert read(tmp_path / "hooks") == []


def test_b3_2_an_exception_is_message_and_data() -> None:
    state = boom("why", return_state=True)  # type: ignore[call-overload]
    assert state.message == "Task run encountered an exception ValueError: why"
    assert (state.type.value, type(state.data), state.data.args) == ("FAILED", ValueError, ("why",))


def test_b3_3_and_b6_4_exits_crash_a_run_and_are_not_retried(tmp_path: Path) -> None:
    file = tmp_path / "attempts"

    @task(retries=3, **hooked(tmp_path / "hooks"))
    def leaves(path: str) -> None:
        with open(path, "a") as attempts:
            attempts.write("x")
        raise SystemExit(1)

    @flow
    def main() -> Any:
        return leaves.submit(str(file)).wait()

    state = flow(lambda: [leaves.submit(str(file)).wait()])(return_state=True).data
    (crashed,) = state if isinstance(state, list) else [state]
    assert (crashed.type.value, file.read_text()) == ("CRASHED", "x")
    assert "exit" in crashed.message.lower()
    with pytest.raises((CrashedRun, SystemExit)):
        crashed.result()
    assert read(tmp_path / "hooks") == ["Running"], "neither completion nor failure"


def test_b3_4_a_failed_state_is_retried_and_returned(tmp_path: Path) -> None:
    @task(retries=1)
    def refuses(path: str) -> Any:
        with open(path, "a") as attempts:
            attempts.write("x")
        return Failed(message="by hand")

    @flow
    def main() -> Any:
        returned = refuses(str(tmp_path / "attempts"))
        return [returned.is_failed(), returned.message]

    assert main() == [True, "by hand"]
    assert (tmp_path / "attempts").read_text() == "xx"


def test_b3_5_names_are_rendered_from_resolved_parameters() -> None:
    @task(task_run_name="{x} and {y}")
    def named(x: int, y: int = 5) -> str:
        return str(task_run.name)

    @task(task_run_name=lambda parameters: f"of {sorted(parameters)}")
    def asked(x: int, y: int = 5) -> str:
        return str(task_run.name)

    @task(task_run_name=lambda: 3)  # type: ignore[arg-type,return-value]
    def wrong() -> None: ...

    @flow
    def main() -> Any:
        one = add.submit(1)
        return named.submit(one).result(), asked(one)  # type: ignore[arg-type]

    assert main() == ("2 and 5", "of ['x', 'y']")
    with pytest.raises(TypeError):
        wrong()


def test_b3_6_and_b6_1_each_attempt_is_running_and_the_last_end_is_heard(tmp_path: Path) -> None:
    hooks, tried = tmp_path / "hooks", tmp_path / "tried"

    @task(retries=2, **hooked(hooks))
    def third(path: str) -> int:
        attempt = int(task_run.run_count)
        if attempt < 3:
            raise ValueError(path)
        return attempt

    assert third(str(tried)) == 3
    assert read(hooks) == ["Running", "Retrying", "Retrying", "Completed"]
    hooks.unlink()
    failing = third.with_options(retries=1)
    assert failing(str(tried), return_state=True).is_failed()
    assert read(hooks) == ["Running", "Retrying", "Failed"]


def test_row_27_b6_2_and_b6_3_hooks_go_on_in_their_order(tmp_path: Path) -> None:
    file = tmp_path / "hooks"

    def raises(of: Any, run: Any, state: State[Any]) -> None:
        noting(file)(of, run, state)
        raise RuntimeError("a hook")

    async def awaited(of: Any, run: Any, state: State[Any]) -> None:
        await asyncio.sleep(0)
        with file.open("a") as lines:
            lines.write(f"{of.name} {run.name} {state.result()}\n")

    watched = add.with_options(name="watched", on_completion=[raises, awaited])

    @watched.on_completion
    def last(of: Any, run: Any, state: State[Any]) -> None:
        noting(file)(of, run, state)

    assert watched(1) == 2
    assert read(file) == ["Completed", "watched watched-0 2", "Completed"]
    for wrong in ("no list", [3], 3):
        with pytest.raises(TypeError, match="on_failure"):
            task(on_failure=wrong)(add.fn)  # type: ignore[arg-type]


def test_b12_1_and_row_22_options_about_results_turn_persisting_on(tmp_path: Path) -> None:
    @task(result_storage=str(tmp_path))
    def stored() -> str:
        return "stored"

    @task(persist_result=False, result_storage=str(tmp_path))
    def not_stored() -> str:
        return "not"

    assert (not_stored(), list(tmp_path.iterdir())) == ("not", [])
    assert (stored(), len(list(tmp_path.iterdir()))) == ("stored", 1)


def test_b12_2_and_row_24_a_record_says_how_it_was_written(tmp_path: Path) -> None:
    @task(result_storage=str(tmp_path), result_storage_key="of-{parameters[x]}", result_serializer="json")
    def stored(x: int) -> list[int]:
        return [x]

    assert stored(3) == [3]
    record = ResultStore(result_storage=str(tmp_path)).read("of-3")
    assert (record.result, record.metadata.storage_key, record.metadata.expiration) == ([3], "of-3", None)
    assert record.metadata.serializer.type == "json"


def test_b12_3_what_cannot_be_written_is_named() -> None:
    @task
    def unpicklable() -> Any:
        return {"a": [iter([1]), (n for n in [1])]}

    @task(result_serializer="json")
    def not_json() -> Any:
        return {1: object()}

    with pytest.raises((NotPicklable, TypeError)) as caught:
        flow(lambda: not_json.submit().result())()
    assert "not_json" in str(caught.value)


def test_b12_4_exceptions_are_there_for_other_programs(client: SyncTaskyardClient) -> None:
    @flow
    def main() -> Any:
        future = boom.submit("kept")
        future.wait()
        return future.task_run_id

    with pytest.raises(ValueError, match="kept"):
        client.read_task_run(main()).state.result()


def undoing(*calls: Callable[[], Any]) -> Transaction:
    """Make calls in a transaction which fails, and return it."""
    try:
        with transaction() as undone:
            for call in calls:
                call()
            boom()
    except ValueError:
        return undone
    raise AssertionError("a failure was not raised")


def test_row_28_and_b13_1_transactions_go_through_their_states() -> None:
    @task
    def write() -> str:
        return "written"

    heard: list[str] = []
    write.on_commit(lambda txn: heard.append(f"commit {txn.state.name}"))
    write.on_rollback(lambda txn: heard.append(f"rollback {txn.state.name}"))

    @flow
    def main() -> None:
        with transaction(commit_mode=CommitMode.LAZY) as outer:
            assert (outer.is_active(), outer.isolation_level) == (True, IsolationLevel.READ_COMMITTED)
            with transaction() as inner:
                assert (inner.commit_mode, inner.get_parent()) == (CommitMode.LAZY, outer)
                write()
            assert (outer.is_active(), heard) == (True, [])
        assert (outer.is_committed(), inner.is_committed()) == (True, True)
        undone = undoing(write)
        assert undone.is_rolled_back()

    main()
    assert [said.split()[0] for said in heard] == ["commit", "rollback"]


def test_b13_3_modes_say_when_a_transaction_commits() -> None:
    @flow
    def main() -> Any:
        with transaction():
            with transaction(commit_mode=CommitMode.EAGER) as eager:
                add(1)
            early = eager.is_committed()
        with transaction(commit_mode=CommitMode.OFF) as off:
            add(1)
        return early, off.is_rolled_back()

    assert main() == (True, True)


def test_b13_4_and_b13_5_a_rollback_goes_the_other_way_round() -> None:
    heard: list[str] = []

    @task
    def write(name: str) -> str:
        return name

    @write.on_rollback
    def undo(txn: Any) -> None:
        heard.append(txn.read().result)

    @flow
    def main() -> Any:
        outer: list[Any] = []
        try:
            with transaction() as around:
                outer.append(around)
                write("a")
                undoing(lambda: write("b"), lambda: write("c"))
        except ValueError:
            heard.append("raised")
        return outer[0].is_rolled_back()

    assert main()
    assert heard == ["c", "b", "a"]


def test_b13_6_values_are_copied_and_found_in_parents() -> None:
    @flow
    def main() -> Any:
        with transaction() as outer:
            values = [1]
            outer.set("values", values)
            values.append(2)
            with transaction() as inner:
                add(1)
                with pytest.raises(ValueError, match="nothing"):
                    inner.get("nothing")
                return inner.get("values"), inner.get("nothing", 3)

    assert main() == ([1], 3)


def test_b13_7_nothing_is_cached_before_the_outer_commit(tmp_path: Path) -> None:
    @task(cache_policy=INPUTS)
    def once(key: str, folder: str) -> int:
        path = Path(folder) / "calls"
        with path.open("a") as lines:
            lines.write("x")
        return len(path.read_text())

    key = uuid4().hex

    @flow
    def main() -> Any:
        undoing(lambda: once(key, str(tmp_path)))
        with transaction():
            second = once(key, str(tmp_path))
        return second, once(key, str(tmp_path))

    assert main() == (2, 2), "what was undone was not cached, what was committed was"


def test_row_34_and_b16_1_calls_are_gathered() -> None:
    @task
    async def waits(x: int) -> int:
        await asyncio.sleep(0.5)
        return x

    @flow
    async def main() -> Any:
        called = waits(0)
        assert asyncio.iscoroutine(called)
        values = await asyncio.gather(called, *(waits(n) for n in range(1, 20)))
        return values, await waits.submit(5), await waits.map([6])

    began = time.monotonic()
    assert asyncio.run(main()) == (list(range(20)), 5, [6])
    assert time.monotonic() - began < 9, "one after the other they take ten seconds"


def until_running(run_id: Any, client: SyncTaskyardClient) -> bool:
    """Wait until it is known that a run has begun, which its agent says together with other news."""
    deadline = time.monotonic() + 30
    while (name := client.read_task_run(run_id).state_name) != "Running" and time.monotonic() < deadline:
        time.sleep(0.01)
    return name == "Running"


def test_row_35_and_b16_2_generators_are_lazy_and_may_be_left(
    tmp_path: Path, client: SyncTaskyardClient
) -> None:
    @task
    def count(path: str) -> Iterator[Any]:
        context = TaskRunContext.get()
        for number in range(3):
            Path(path).with_name(f"{number}").touch()
            yield context.task_run.id if context and not number else number

    @task
    async def count_async() -> AsyncIterator[int]:
        yield 1
        yield 2

    @flow
    def main() -> Any:
        values = count(str(tmp_path / "x"))
        run_id = next(values)
        assert until_running(run_id, client)
        values.close()
        return run_id, len(count.submit(str(tmp_path / "x")).result()), count_async.submit().result()

    @flow
    async def main_async() -> Any:
        return [value async for value in count_async()]

    run_id, submitted, from_async = main()
    assert (submitted, from_async, asyncio.run(main_async())) == (3, [1, 2], [1, 2])
    assert client.read_task_run(run_id).state_name == "Completed", "being left early is no failure"
    with pytest.raises(ValueError, match="return_state"):
        count("x", return_state=True)


def test_row_14_and_b16_3_a_timeout_ends_what_computes() -> None:
    @task(timeout_seconds=0.15)
    def computes() -> None:
        while True:
            sum(range(100))

    with pytest.raises(TaskRunTimeoutError):
        computes()
    state = computes(return_state=True)  # type: ignore[call-overload]
    assert (state.type.value, state.name) == ("FAILED", "TimedOut")
    assert issubclass(TaskRunTimeoutError, TimeoutError)


def test_row_29_b18_1_and_b18_2_a_drawing_executes_nothing(tmp_path: Path) -> None:
    @task(viz_return_value=[5])
    def five(path: str) -> list[int]:
        Path(path).touch()
        return [5]

    @flow
    def main() -> None:
        value = five(str(tmp_path / "x"))
        add(value)  # type: ignore[arg-type]

    @flow
    def submits() -> None:
        add.submit(1)

    drawn = main.generate_mermaid_graph()
    assert '"five-0"' in drawn
    assert "-->" in drawn
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(VisualizationUnsupportedError, match="submit"):
        submits.generate_mermaid_graph()
