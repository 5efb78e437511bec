"""Generator tasks that are called directly give their values one by one, whoever executes other tasks."""

import asyncio
import contextvars
import itertools
import time
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any

import pytest
from support.plane_and_agent import Plane

from taskyard import flow, headers, heartbeat, runtime, task
from taskyard._network.server.calls import Client
from taskyard.exceptions import CancelledRun, TaskRunTimeoutError
from taskyard.runtime import task_run
from taskyard.task_runners import AgentTaskRunner, ThreadPoolTaskRunner

RUNNERS = pytest.mark.parametrize(
    "runner", [ThreadPoolTaskRunner(max_workers=1), AgentTaskRunner()], ids=["threads", "agents"]
)
tries: list[str] = []
variable = contextvars.ContextVar("variable", default="none")


@task
def endless() -> Iterator[int]:
    yield from itertools.count()


@task
def breaks() -> Iterator[int]:
    yield 1
    raise ValueError("half way")


@task
def one(n: int) -> int:
    return n


@RUNNERS
def test_an_endless_generator_begins_and_ends_with_its_caller(plane: Plane, runner: Any) -> None:
    closed: list[bool] = []
    ended: list[str] = []

    @task(on_completion=[lambda task, run, state: ended.append(state.name)])
    def counts() -> Iterator[int]:
        try:
            yield from itertools.count()
        finally:
            closed.append(True)

    @flow(task_runner=runner)
    def main() -> list[int]:
        return list(itertools.islice(counts(), 3))

    assert main() == [0, 1, 2]
    assert closed == [True]
    assert ended == ["Completed"], "to leave early is no failure"


@RUNNERS
def test_values_up_to_a_failure_arrive_and_are_not_repeated(plane: Plane, runner: Any) -> None:
    got: list[int] = []

    with pytest.raises(ValueError, match="half way"):
        got.extend(breaks())
    assert got == [1]

    @flow(task_runner=runner)
    def again() -> list[Any]:
        seen: list[Any] = []
        try:
            for value in breaks.with_options(retries=3)():
                seen.append(value)
        except ValueError:
            seen.append("error")
        return seen

    assert again() == [1, "error"]


@RUNNERS
def test_a_failure_before_the_first_value_is_repeated(plane: Plane, runner: Any) -> None:
    tries.clear()

    @task(retries=1)
    def once() -> Iterator[str]:
        tries.append("x")
        if len(tries) == 1:
            raise ValueError
        yield f"attempt {task_run.run_count}"

    @flow(task_runner=runner)
    def main() -> list[str]:
        return list(once())

    assert main() == ["attempt 2"]


@RUNNERS
def test_what_is_sent_arrives_and_what_is_returned_too(plane: Plane, runner: Any) -> None:
    @task
    def echoes() -> Generator[Any, Any, str]:
        got: list[Any] = []
        for n in range(3):
            try:
                got.append((yield n))
            except KeyError:
                got.append("thrown")
        return f"got {got}"

    @flow(task_runner=runner)
    def main() -> str:
        values: Any = echoes()
        assert next(values) == 0
        assert values.send("sent") == 1
        assert values.throw(KeyError("k")) == 2
        with pytest.raises(StopIteration) as end:
            next(values)
        return str(end.value.value)

    assert main() == "got ['sent', 'thrown', None]"


@RUNNERS
def test_more_generators_are_open_than_there_are_places(plane: Plane, runner: Any) -> None:
    @flow(task_runner=runner)
    def main() -> tuple[list[int], int]:
        opened = [endless() for _ in range(20)]
        return [next(values) for values in opened], one.submit(one(7)).result()

    assert main() == ([0] * 20, 7)


@RUNNERS
def test_a_flow_does_not_wait_for_a_generator_that_nobody_goes_on_with(plane: Plane, runner: Any) -> None:
    kept: list[Any] = []

    @flow(task_runner=runner)
    def main() -> int:
        kept.append(endless())
        return int(next(kept[0]))

    assert main() == 0
    assert next(kept[0]) == 1
    kept[0].close()


@RUNNERS
def test_a_generator_has_the_contexts_of_its_run_and_changes_its_own(plane: Plane, runner: Any) -> None:
    @task(log_prints=True)
    def names() -> Iterator[tuple[str, str]]:
        for n in range(2):
            seen = variable.get()
            variable.set(f"of step {n}")
            print("printed")
            yield str(task_run.name), seen

    @flow(task_runner=runner)
    def main() -> list[tuple[str, str]]:
        variable.set("of the flow")
        seen = list(names())
        assert variable.get() == "of the flow"
        return seen

    assert main() == [("names-0", "of the flow"), ("names-0", "of step 0")]


@RUNNERS
def test_an_asynchronous_generator_gives_its_values_one_by_one(plane: Plane, runner: Any) -> None:
    @task
    async def counts(until: int) -> AsyncIterator[int]:
        for n in itertools.count():
            if n == until:
                raise ValueError("far enough")
            await asyncio.sleep(0)
            yield n

    @flow(task_runner=runner)
    async def main() -> list[Any]:
        seen: list[Any] = []
        async for n in counts(10):
            seen.append(n)
            if n == 1:
                break
        try:
            async for n in counts(2):
                seen.append(n)
        except ValueError:
            seen.append("error")
        return seen

    assert asyncio.run(main()) == [0, 1, 0, 1, "error"]


@RUNNERS
def test_a_cancelled_generator_gives_no_further_value(plane: Plane, runner: Any) -> None:
    @task
    def names() -> Iterator[str]:
        while True:
            yield str(task_run.id)

    @flow(task_runner=runner)
    def main() -> None:
        values = names()
        with Client(plane.address) as client:
            run_id = bytes.fromhex(next(values).replace("-", ""))
            client.cancel_run(run_id)
            client.wait_run(run_id, 30)
        with pytest.raises(CancelledRun):
            next(values)

    main()


@RUNNERS
def test_the_time_of_a_generator_is_looked_at_between_values(plane: Plane, runner: Any) -> None:
    @task(timeout_seconds=0.05)
    def spins() -> Iterator[int]:
        yield from itertools.count()

    @flow(task_runner=runner)
    def main() -> None:
        with pytest.raises(TaskRunTimeoutError, match=r"exceeded its timeout of 0\.05 seconds"):
            for _ in spins():
                pass

    main()


SILENCE = 0.3


@task(heartbeat_timeout=SILENCE)
def takes_time(steps: int, talks: bool) -> Iterator[int]:
    for step in range(steps):
        spent = time.monotonic() + 0.7 * SILENCE
        while time.monotonic() < spent:
            if talks:
                heartbeat(step)
        if step % 2:
            yield step


def test_a_generator_may_be_silent_between_its_values_for_so_long_only(plane: Plane) -> None:
    @flow
    def main(talks: bool) -> list[int]:
        return list(takes_time(4, talks))

    assert main(talks=True) == [1, 3]
    with pytest.raises(TaskRunTimeoutError, match=r"said nothing of its progress for 0\.3 seconds"):
        main(talks=False)


def test_who_waits_for_values_and_whoever_is_suspended_need_not_say_anything(plane: Plane) -> None:
    @task
    def slow() -> Iterator[int]:
        yield 1
        time.sleep(2 * SILENCE)
        yield 2

    @task(heartbeat_timeout=SILENCE)
    def takes() -> int:
        return sum(slow())

    @task(heartbeat_timeout=SILENCE)
    def quick() -> Iterator[int]:
        yield 1
        yield 2

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=1))
    def main() -> tuple[int, list[int]]:
        values = []
        for value in quick():
            values.append(value)
            time.sleep(2 * SILENCE)
        return takes.submit().result(), values

    assert main() == (3, [1, 2])


@RUNNERS
def test_generators_have_the_headers_of_their_callers(plane: Plane, runner: Any) -> None:
    @task
    def observed() -> Iterator[dict[str, str]]:
        yield runtime.task_run.headers

    @task
    def caller() -> list[dict[str, str]]:
        return list(observed())

    @flow(task_runner=runner)
    def main() -> list[dict[str, str]]:
        return caller.submit().result()

    with headers(team="night"):
        assert main() == [{"team": "night"}]


def test_no_result_that_was_kept_stands_for_a_generator(plane: Plane) -> None:
    tries.clear()

    @task(cache_key_fn=lambda context, parameters: "a key of this test")
    def twice() -> Iterator[int]:
        tries.append("x")
        yield 1

    @flow
    def main() -> list[int]:
        return [*twice(), *twice()]

    assert main() == [1, 1]
    assert len(tries) == 2
