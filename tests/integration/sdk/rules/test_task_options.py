"""Rows 1 to 38: what tasks can be given, and what that does to their runs."""

import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Unpack
from uuid import UUID

import pytest

from taskyard import flow, tags, task
from taskyard.client.orchestration import SyncTaskyardClient
from taskyard.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from taskyard.context import TaskRunContext
from taskyard.exceptions import ReservedArgumentError
from taskyard.runtime import flow_run, task_run
from taskyard.tasks import Task, TaskOptions, exponential_backoff, task_input_hash


def plus(x: int, y: int = 1) -> int:
    """Add them.

    More of it.
    """
    return x + y


async def plus_async(x: int, y: int = 1) -> int:
    return x + y


def counted(n: int) -> Iterator[int]:
    yield from range(n)


async def counted_async(n: int) -> AsyncIterator[int]:
    for number in range(n):
        yield number


class Adder:
    """Adds what it was made with."""

    def __init__(self, more: int) -> None:
        self.more = more

    def __call__(self, x: int) -> int:
        return x + self.more


def note(file: str, text: str = "x") -> int:
    """Append a line to a file, and say how many it has."""
    with open(file, "a") as lines:
        lines.write(f"{text}\n")
    return len(Path(file).read_text().splitlines())


@pytest.fixture
def file(tmp_path: Path) -> str:
    return str(tmp_path / "notes")


def test_row_1_functions_of_every_kind_are_tasks() -> None:
    kinds: list[Any] = [plus, Adder(1), lambda x: x + 1]
    assert [task(kind)(1) for kind in kinds] == [2, 2, 2]
    assert [task(name="other")(kind)(1) for kind in kinds] == [2, 2, 2]

    @flow
    def main() -> Any:
        return [task(kind).submit(2).result() for kind in (plus_async, counted, counted_async)]  # type: ignore[operator,unused-ignore]

    assert main() == [3, [0, 1], [0, 1]]
    assert isinstance(task(plus), Task)
    assert (task(plus).__name__, task(plus).__doc__) == (plus.__name__, plus.__doc__)
    for no_function in ("plus", 3):
        with pytest.raises(TypeError, match="'fn' must be callable"):
            task(no_function)  # type: ignore[call-overload]


def test_row_2_runs_are_of_the_name_of_the_function_or_the_class() -> None:
    @task
    def asked() -> Any:
        return task_run.task_name

    assert asked() == "asked"
    assert asked.with_options(name="another")() == "another"
    assert task(Adder(1)).name == "Adder"


def test_row_3_the_docstring_describes() -> None:
    assert task(plus).description == "Add them.\n\nMore of it."
    described = task(description="adds")(plus)
    assert (described.description, described(1)) == ("adds", 2)


def test_row_4_runs_have_the_tags_of_their_task_and_of_the_call() -> None:
    @task(tags=["own"])
    def tagged() -> Any:
        return sorted(task_run.tags)

    @flow
    def main() -> Any:
        with tags("a"), tags("b", "own"):
            inside = tagged.submit(), tagged.task_key
        return tagged(), inside[0].result(), inside[1]

    assert main() == (["own"], ["a", "b", "own"], tagged.task_key)
    with pytest.raises(TypeError, match=r"write \['own'\]"):
        task(tags="own")(plus)


def test_row_5_a_version_is_kept_by_other_options() -> None:
    versioned = task(version="7")(plus)
    assert versioned.with_options(retries=1).version == "7"
    assert versioned.with_options(version="8").version == "8"
    assert versioned.with_options(retries=1)(1) == 2


def test_row_6_the_key_is_made_of_name_function_and_tags() -> None:
    @task(tags=["b", "a"])
    def keyed() -> Any:
        context = TaskRunContext.get()
        return context.task_run.task_key if context else ""

    assert keyed() == keyed.task_key
    assert keyed.with_options(retries=3).task_key == keyed.task_key
    renamed, bare = keyed.with_options(name="n"), keyed.with_options(tags=[])
    assert len({keyed.task_key, renamed.task_key, bare.task_key}) == 3


def test_row_7_runs_are_numbered_in_their_flow_run() -> None:
    @task
    def numbered() -> Any:
        return task_run.name, task_run.dynamic_key

    other = numbered.with_options(name="other")

    @flow
    def main() -> Any:
        return [numbered(), numbered.submit().result(), other(), *[f.result() for f in [numbered.submit()]]]

    expected = [("numbered-0", "0"), ("numbered-1", "1"), ("other-0", "0"), ("numbered-2", "2")]
    assert main() == main() == expected


def test_row_9_retries_are_further_attempts_of_the_same_run(file: str, client: SyncTaskyardClient) -> None:
    @task(retries=2)
    def third_time() -> Any:
        if note(file, f"{task_run.id} {task_run.run_count}") < 3:
            raise ValueError("not yet")
        return task_run.id

    run_id = third_time()
    assert Path(file).read_text().splitlines() == [f"{run_id} {attempt}" for attempt in (1, 2, 3)]
    assert client.read_task_run(run_id).run_count == 3
    assert task(plus).retries == 0
    Path(file).unlink()
    with pytest.raises(ValueError, match="not yet"):
        third_time.with_options(retries=0)()


def gaps(file: str, **options: Unpack[TaskOptions]) -> list[float]:
    """Return how long it took from each attempt of a task that always fails to the next one."""

    @task(**options)
    def failing() -> None:
        note(file, str(time.time()))
        raise ValueError

    Path(file).unlink(missing_ok=True)
    assert failing(return_state=True).is_failed()  # type: ignore[call-overload]
    times = [float(line) for line in Path(file).read_text().splitlines()]
    return [later - sooner for sooner, later in pairwise(times)]


def test_row_10_delays_are_a_number_a_list_or_a_callable(file: str) -> None:
    (one,) = gaps(file, retries=1, retry_delay_seconds=0.1)
    assert one >= 0.1
    _, *later = gaps(file, retries=3, retry_delay_seconds=[0, 0.06])
    assert len(later) == 2
    assert all(gap >= 0.06 for gap in later), "the last entry repeats"
    assert len(gaps(file, retries=2, retry_delay_seconds=lambda n: [0.0] * n)) == 2
    with pytest.raises(ValueError, match="50"):
        task(retries=51, retry_delay_seconds=[1.0] * 51)(plus)
    with pytest.raises(TypeError, match="retry_delay_seconds"):
        task(retries=1, retry_delay_seconds="1")(plus)  # type: ignore[arg-type]


def test_row_11_exponential_backoff_doubles(file: str) -> None:
    first, second = gaps(file, retries=2, retry_delay_seconds=exponential_backoff(0.04))
    assert first >= 0.04
    assert second >= 0.08
    assert exponential_backoff(10)(3) == [10, 20, 40]
    assert len(exponential_backoff(1)(60)) == 50


def test_row_12_delays_are_jittered(capsys: pytest.CaptureFixture[str]) -> None:
    @task(retries=4, retry_delay_seconds=0.03, retry_jitter_factor=1)
    def failing() -> None:
        raise ValueError

    assert failing(return_state=True).is_failed()  # type: ignore[call-overload]
    delays = [float(said) for said in re.findall(r"next in (\S+) s", capsys.readouterr().err)]
    assert len(delays) == 4
    assert all(0 <= delay <= 0.06 for delay in delays), "once more than the delay at most"
    assert len(set(delays)) > 1
    with pytest.raises(ValueError, match="retry_jitter_factor"):
        task(retries=1, retry_jitter_factor=-1)(plus)


def test_row_13_a_condition_decides_about_retries(file: str) -> None:
    def attempts(condition: Callable[..., Any]) -> int:
        return len(gaps(file, retries=2, retry_condition_fn=condition)) + 1

    async def agrees(of: Any, run: Any, state: Any) -> bool:
        assert (of.name, state.is_failed()) == ("failing", True)
        return isinstance(state.data, ValueError)

    assert attempts(lambda of, run, state: False) == 1
    assert attempts(agrees) == 3
    assert attempts(lambda of, run, state: run.run_count < 2) == 2
    assert attempts(lambda of, run, state: 1 / 0) == 1, "no retry when it raises"
    with pytest.raises(TypeError, match="retry_condition_fn"):
        task(retry_condition_fn=True)(plus)  # type: ignore[arg-type]


def test_row_16_a_function_makes_the_key(file: str) -> None:
    def key(context: TaskRunContext, parameters: dict[str, Any]) -> str | None:
        assert isinstance(context.task_run.id, UUID)
        return f"{file}{parameters['y']}" if parameters["x"] else None

    @task(cache_key_fn=key)
    def cached(x: int, y: int = 1) -> int:
        return note(file)

    assert [cached(1), cached(2), cached(2, 2), cached(0), cached(0)] == [1, 1, 2, 3, 4]


def test_row_17_a_result_expires(file: str) -> None:
    @task(cache_key_fn=lambda context, parameters: f"{file}{parameters['n']}")
    def cached(n: int) -> int:
        return note(file)

    short = cached.with_options(cache_expiration=timedelta(milliseconds=1))
    first = short(1), short(2)
    time.sleep(0.005)  # what is tested is that this time passes
    assert (short(1), short(2)) != first
    assert cached(3) == cached(3)


def test_row_18_equal_arguments_have_equal_hashes(file: str) -> None:
    @task(cache_key_fn=task_input_hash)
    def cached(x: Any, at: str = file) -> int:
        return note(at)

    assert cached({"a": 1, "b": [2]}) == cached({"b": [2], "a": 1}) == 1
    assert cached({"a": 1}) == 2


def test_row_31_options_are_replaced_in_a_new_task(file: str) -> None:
    @task(name="first", tags=["a"], retries=3, description="it", log_prints=True)
    def failing() -> None:
        note(file)
        raise ValueError

    other = failing.with_options(retries=0, tags=[], name="other")
    assert other(return_state=True).is_failed()  # type: ignore[call-overload]
    assert len(Path(file).read_text().splitlines()) == 1
    assert (other.name, other.tags, other.description, other.log_prints) == ("other", frozenset(), "it", True)
    assert (failing.name, failing.tags, failing.retries) == ("first", {"a"}, 3)


@pytest.mark.parametrize("name", ["wait_for", "return_state"])
def test_row_32_reserved_parameters_are_refused(name: str) -> None:
    with pytest.raises(ReservedArgumentError, match=f"'{name}' is a reserved argument name"):
        task(eval(f"lambda {name}: None"))
    assert issubclass(ReservedArgumentError, TypeError)


def test_row_36_the_function_leaves_no_run(client: SyncTaskyardClient) -> None:
    added = task(plus)

    @flow
    def main() -> Any:
        assert (added.fn(1, 2), added(1)) == (3, 2)
        return flow_run.id

    of_flow = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(main())]))
    assert [run.name for run in client.read_task_runs(flow_run_filter=of_flow)] == ["plus-0"]


def test_row_37_options_are_passed_on(file: str) -> None:
    def made(**options: Unpack[TaskOptions]) -> Any:
        return task(**options)(plus)

    assert made(name="mine", retries=2, tags=["a"])(1, y=2) == 3
    known = TaskOptions.__annotations__
    assert {"name", "retries", "cache_policy", "result_storage", "on_rollback", "log_prints"} <= known.keys()
    with pytest.raises(TypeError, match="retry"):
        made(retry=1)  # type: ignore[call-arg]
