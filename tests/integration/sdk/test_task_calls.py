"""The first dialect of Prefect 2, in which calls of tasks return futures: examples of its documents.

With agents and with threads; only the imports are changed, and what is printed is returned as well.
"""

import asyncio
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from taskyard import Completed, flow, tags, task
from taskyard.context import get_run_context
from taskyard.futures import Future
from taskyard.states import State
from taskyard.task_runners import AgentTaskRunner, SequentialTaskRunner, TaskRunner, ThreadPoolTaskRunner
from taskyard.tasks import task_input_hash

pytestmark = pytest.mark.usefixtures("plane")

# Types say what calls return in Prefect 3; what the flow says cannot be seen by them.
mypy_cannot_know: Any = lambda of: of  # noqa: E731


@pytest.fixture(params=["agents", "threads"])
def dialect(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole program is written in it, with its tasks in agents or in threads."""
    monkeypatch.setenv("TASKYARD_TASK_RUNNER", request.param)
    monkeypatch.setenv("TASKYARD_TASK_CALLS", "future")


@pytest.fixture(
    params=[AgentTaskRunner, ThreadPoolTaskRunner, SequentialTaskRunner],
    ids=["agents", "threads", "sequential"],
)
def runner(request: pytest.FixtureRequest) -> type[TaskRunner]:
    """A task runner for a flow."""
    kind: type[TaskRunner] = request.param
    return kind


@mypy_cannot_know
@task
def my_task() -> Any:
    return "hello"


@mypy_cannot_know
@task
def say_hello(name: str) -> Any:
    return f"Hello {name}!"


@mypy_cannot_know
@task
def type_and_value(result: Any) -> Any:
    return type(result).__name__, result


@mypy_cannot_know
@task
def boom() -> Any:
    raise ValueError("boom")


def test_document_000_a_call_returns_a_future(runner: type[TaskRunner]) -> None:
    seen: list[Any] = []

    @flow(task_calls="future", task_runner=runner)
    def hello_world() -> None:
        future = say_hello("Marvin")
        seen.append(type(future))
        seen.append(type_and_value(future).result())

    hello_world()
    assert seen == [Future, ("str", "Hello Marvin!")]


def test_document_000_states_and_results_of_calls(dialect: None) -> None:
    seen: list[Any] = []

    @flow
    def my_flow() -> None:
        future = my_task()
        state = future.get_state()
        final_state = future.wait()
        seen.extend([state, final_state, final_state.result()])

    my_flow()
    state, final_state, result = seen
    assert isinstance(state, State)
    assert (final_state.is_completed(), result) == (True, "hello")


def test_document_000_calls_are_put_in_order_by_wait_for(dialect: None, tmp_path: Path) -> None:
    path = str(tmp_path / "journal")

    @mypy_cannot_know
    @task
    def note(name: str) -> None:
        with open(path, "a") as journal:
            journal.write(name)

    @flow
    def my_flow() -> None:
        a = note("a")
        b = note("b")
        c = note("c", wait_for=[a, b])
        note("d", wait_for=[c])

    my_flow()
    written = Path(path).read_text()
    assert (sorted(written[:2]), written[2:]) == (["a", "b"], "cd")


def test_document_000_names_tags_retries_and_caching(dialect: None, tmp_path: Path) -> None:
    path = tmp_path / "executed"

    @mypy_cannot_know
    @task(name="hello-task", description="This task says hello.", tags=["test"])
    def tagged() -> Any:
        run: Any = get_run_context().run
        return run.tags

    @mypy_cannot_know
    @task(retries=3, retry_delay_seconds=0)
    def get_page(url: str) -> Any:
        run: Any = get_run_context().run
        if run.run_count < 3:
            raise OSError(url)
        return run.run_count

    @mypy_cannot_know
    @task(cache_key_fn=task_input_hash, cache_expiration=timedelta(days=1))
    def hello_task(name_input: str) -> Any:
        with path.open("a") as file:
            file.write(name_input)
        return "hello " + name_input

    seen: list[Any] = []

    @flow
    def my_flow() -> None:
        with tags("more"):
            seen.append(sorted(tagged().result()))
        seen.append(get_page("x").result())
        first = hello_task(path.parent.name)
        seen.append(hello_task(path.parent.name, wait_for=[first]).wait().name)

    my_flow()
    assert seen == [["more", "test"], 3, "Cached"]
    assert path.read_text() == path.parent.name


def test_document_001_tasks_of_both_kinds_in_asynchronous_flows(runner: type[TaskRunner]) -> None:
    @mypy_cannot_know
    @task
    async def my_async_task() -> Any:
        return "async"

    @flow(task_calls="future", task_runner=runner)
    async def my_flow() -> Any:
        future = await my_async_task()
        state = await my_async_task(return_state=True)
        plain = my_task()
        return type(future) is Future, await future, state.result(), await plain.aresult()

    assert asyncio.run(my_flow()) == (True, "async", "async", "hello")  # type: ignore[arg-type]


def test_generators_return_futures_of_all_their_values(dialect: None) -> None:
    @mypy_cannot_know
    @task
    def count() -> Any:
        yield 1
        yield 2

    @flow
    def main() -> Any:
        return count().result()

    assert main() == [1, 2]


def test_row_59_a_future_warns_where_its_truth_is_asked_for(dialect: None) -> None:
    @flow
    def main() -> Any:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert my_task()
        return [str(one.message) for one in caught]

    assert main() == ["a future is always true, whatever its value will be; call .result() and test that"]


def test_b11_2_all_runs_decide_how_such_a_flow_ends(dialect: None) -> None:
    @flow
    def fails() -> None:
        my_task()
        boom()

    @flow(final_state="returned")
    def completes() -> None:
        boom()

    @flow
    def returns() -> Any:
        boom()
        return "value"

    state: State[Any] = fails(return_state=True)
    assert (state.type.value, state.message) == ("FAILED", "1/2 states failed.")
    assert completes(return_state=True).is_completed()
    assert returns() == "value"


def test_a_call_that_cannot_be_made_is_refused_at_once(dialect: None) -> None:
    @flow
    def main() -> Any:
        with pytest.raises(TypeError, match="missing a required argument: 'name'"):
            say_hello()
        return my_task(return_state=True).result()

    assert main() == "hello"


def test_the_flow_decides_and_neither_its_subflows_nor_its_tasks_follow(runner: type[TaskRunner]) -> None:
    @mypy_cannot_know
    @task
    def calls() -> Any:
        return my_task()  # in a task: the value

    @flow
    def inner() -> Any:
        return my_task()

    @flow(task_calls="future", task_runner=runner)
    def outer() -> Any:
        return my_task().result(), calls().result(), inner()

    @flow(task_calls="value", task_runner=runner)
    def other() -> Any:
        return my_task()

    assert outer() == ("hello", "hello", "hello")
    assert other() == "hello"
    assert my_task() == "hello"


def test_the_option_beats_the_environment(dialect: None) -> None:
    @flow(task_calls="value")
    def main() -> Any:
        return my_task()

    assert main() == "hello"
    assert my_task() == "hello", "outside of flows nobody would wait for a future"


def test_a_state_made_by_hand_arrives_in_the_future(dialect: None) -> None:
    @mypy_cannot_know
    @task
    def by_hand() -> Any:
        return Completed(data=5, message="mine")

    @flow
    def main() -> Any:
        state = by_hand().wait()
        return state.message, state.result()

    assert main() == ("mine", 5)
