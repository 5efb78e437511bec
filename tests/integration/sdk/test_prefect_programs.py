"""Programs as they are written for Prefect 3, with only their imports changed.

Tests are named after the capabilities and rules they stand for; what `test_runs_in_agents` shows is not
repeated.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from taskyard import (
    Cancelled,
    Completed,
    Failed,
    allow_failure,
    as_completed,
    flow,
    get_run_logger,
    opaque,
    quote,
    tags,
    task,
    task_input_hash,
    unmapped,
    wait,
)
from taskyard.cache_policies import INPUTS, NO_CACHE, RUN_ID, TASK_SOURCE
from taskyard.context import TaskRunContext
from taskyard.exceptions import (
    MissingResult,
    NotPicklable,
    TaskRunTimeoutError,
    UnfinishedRun,
    UpstreamTaskError,
)
from taskyard.runtime import flow_run, task_run
from taskyard.states import State

pytestmark = pytest.mark.usefixtures("plane")


@pytest.fixture(autouse=True, params=["agents", "threads"])
def task_runner(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the runs of a program are executed that says nothing about it."""
    monkeypatch.setenv("TASKYARD_TASK_RUNNER", request.param)
    return str(request.param)


@task
def add(x: int, y: int = 1) -> int:
    return x + y


@task
def boom(text: str = "boom") -> None:
    raise ValueError(text)


@task
def identity(value: Any) -> Any:
    return value


@task
def at_gate(gate: Path) -> str:
    while not gate.exists():
        time.sleep(0.01)
    return gate.name


@task
async def add_async(x: int, y: int = 1) -> int:
    await asyncio.sleep(0.001)
    return x + y


@task
async def boom_async() -> None:
    raise ValueError("async")


@flow
def child(x: int) -> int:
    return add(x)


@flow
def bad_child() -> None:
    raise ValueError("child")


class Coded(Exception):
    """An exception as programs have them: its constructor wants something else than its text."""

    def __init__(self, code: int, *, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code


@dataclass
class Order:
    amount: Any
    parts: list[Any]


class Model(BaseModel):
    amount: Any


class Counter:
    def __init__(self, start: int) -> None:
        self.start = start

    @task
    def plus(self, x: int) -> int:
        return self.start + x

    @task
    @classmethod
    def named(cls, x: int) -> tuple[str, int]:
        return cls.__name__, x

    @task
    @staticmethod
    def alone(x: int) -> int:
        return x

    @flow
    def all_of_it(self) -> tuple[Any, ...]:
        return self.plus(1), self.plus.submit(2).result(), self.plus.map([3, 4]).result()


def test_row_33_methods_are_tasks_and_flows() -> None:
    counter = Counter(10)
    assert counter.all_of_it() == (11, 12, [13, 14])
    assert (Counter.named(1), counter.named(2)) == (("Counter", 1), ("Counter", 2))  # type: ignore[arg-type,call-arg]
    assert (Counter.alone(3), counter.alone(4)) == (3, 4)  # type: ignore[arg-type]


def test_row_39_exceptions_with_constructors_of_their_own_are_caught_by_type() -> None:
    @task
    def refuse() -> None:
        raise Coded(7, detail="seven")

    with pytest.raises(Coded, match="7: seven") as caught:
        refuse()
    assert caught.value.code == 7


def test_row_40_states_instead_of_values() -> None:
    @flow
    def main() -> tuple[Any, ...]:
        good, bad = add(1, return_state=True), boom(return_state=True)
        states = add.map([1, 2], return_state=True)
        assert isinstance(bad.result(raise_on_failure=False), ValueError)
        return good.result(), bad.type.value, [state.result() for state in states]

    assert main() == (2, "FAILED", [2, 3])


def test_row_42_wait_for_orders_and_fails_with_its_upstream() -> None:
    @flow
    def main() -> tuple[Any, ...]:
        bad = boom.submit()
        after = add.submit(1, wait_for=[bad]).wait()
        allowed = add.submit(1, wait_for=[allow_failure(bad)]).result()
        mapped = add.map([1, 2], wait_for=[add.submit(0), add(0, return_state=True)]).result()
        assert after is not None
        with pytest.raises(UpstreamTaskError, match="'boom-0' did not reach a 'COMPLETED' state: it failed"):
            add(1, wait_for=[bad])
        return after.name, allowed, mapped

    assert main() == ("NotReady", 2, [2, 3])


def test_row_45_a_map_over_the_future_of_a_list() -> None:
    @task
    def numbers() -> list[int]:
        return [1, 2, 3]

    @flow
    def main() -> list[int]:
        return add.map(numbers.submit(), unmapped(10)).result()

    assert main() == [11, 12, 13]


def test_row_47_apply_async_takes_a_tuple_and_waits() -> None:
    @flow
    def main() -> tuple[Any, ...]:
        first = add.apply_async((1,), {"y": 5})
        second = identity.apply_async((2,), wait_for=[first])
        return first.result(10), second.result(10)

    assert main() == (6, 2)


def test_row_52_callbacks_are_called_once_the_run_has_ended() -> None:
    seen: list[str] = []
    called = threading.Event()

    @flow
    def main() -> None:
        future = add.submit(1)
        future.add_done_callback(lambda done: (seen.append(done.state.name), called.set()))
        assert called.wait(10)
        future.add_done_callback(lambda done: seen.append(str(done.result())))

    main()
    assert seen == ["Completed", "2"]


def test_row_55_wait_and_as_completed(tmp_path: Path) -> None:
    @flow
    def main() -> None:
        gates = [tmp_path / "late", tmp_path / "early"]
        gates[1].touch()
        futures = at_gate.map(gates)
        ended = []
        for future in as_completed(futures):
            ended.append(future.result())
            gates[0].touch()
        assert ended == ["early", "late"]
        slow = at_gate.submit(tmp_path / "never")
        done, not_done = wait([slow, *futures], timeout=0.01)
        assert (len(done), not_done) == (2, {slow})
        with pytest.raises(TimeoutError, match=r"1 \(of 1\) futures unfinished"):
            list(as_completed([slow], timeout=0.01))
        with pytest.raises(TimeoutError, match=rf"Task run {slow.task_run_id} did not complete within 0.01"):
            slow.result(timeout=0.01)
        assert slow.wait(timeout=0.01) is None
        (tmp_path / "never").touch()

    main()


def test_row_56_futures_anywhere_inside_arguments() -> None:
    @flow
    def main() -> None:
        one = add.submit(0)
        assert identity({"a": [(one, {one})]}) == {"a": [(1, {1})]}
        assert identity(Order(one, [one])) == Order(1, [1])
        assert identity(Model(amount=one)) == Model(amount=1)

    main()


def test_row_61_parameters_are_converted_or_refused() -> None:
    @flow
    def main(n: int) -> int:
        return n + 1

    assert main("41") == 42  # type: ignore[arg-type]
    assert main("many", return_state=True).is_failed()


def test_row_63_subflows_return_values_states_and_raise() -> None:
    @flow
    def main() -> tuple[Any, ...]:
        state = bad_child(return_state=True)
        return child(1), child(add.submit(1)), state.is_failed()

    @flow
    def failing() -> None:
        bad_child()

    assert main() == (2, 3, True)
    with pytest.raises(ValueError, match="child"):
        failing()


def test_row_8_and_68_names_and_runtime() -> None:
    def long_name() -> str:
        return f"{flow_run.flow_name}-{task_run.task_name}-of-{task_run.parameters['name']}"

    @task(name="greeter", task_run_name=long_name)
    def greet(name: str, limit: int = 100) -> Any:
        context = TaskRunContext.get()
        assert context is not None
        return task_run.name, task_run.tags, dict(context.parameters)

    @task(task_run_name="add {x} to {y:03d}")
    def named(x: int, y: int = 7) -> Any:
        return task_run.name

    @flow(name="hello")
    def main() -> tuple[Any, ...]:
        with tags("a"):
            return greet("marvin"), named(1), named.submit(add.submit(1)).result()

    expected = ("hello-greeter-of-marvin", ["a"], {"name": "marvin", "limit": 100})
    assert main() == (expected, "add 1 to 007", "add 2 to 007")


def test_row_27_and_b6_hooks_run_in_order_where_the_task_ran(tmp_path: Path) -> None:
    log = tmp_path / "hooks"

    def note(of: Any, run: Any, state: State[Any]) -> None:
        with log.open("a") as file:
            file.write(f"{of.name} {run.name} {state.name}\n")

    async def note_async(of: Any, run: Any, state: State[Any]) -> None:
        note(of, run, state)

    def fails(of: Any, run: Any, state: State[Any]) -> None:
        raise RuntimeError("a hook")

    @task(on_completion=[fails, note, note_async], on_failure=[note], retries=1, retry_delay_seconds=0)
    def one(bad: bool) -> None:
        if bad:
            raise ValueError

    @one.on_running
    def starting(of: Any, run: Any, state: State[Any]) -> None:
        note(of, run, state)

    one(False)
    one(True, return_state=True)
    lines = log.read_text().splitlines()
    assert lines[:3] == ["one one-0 Running", *["one one-0 Completed"] * 2]
    assert lines.count("one one-1 Failed") == 1, "only after the last attempt"


def test_row_66_states_returned_by_hand() -> None:
    @task
    def decide(how: str) -> Any:
        states = {
            "ok": Completed(data=5),
            "named": Completed(name="Skipped", data=None),
            "no": Failed(message="no"),
        }
        return states.get(how) or Cancelled(message="enough")

    @task
    def empty() -> Any:
        return Completed(message="nothing")

    @flow
    def main() -> tuple[Any, ...]:
        states = [decide(how, return_state=True).name for how in ("ok", "named", "no", "cancel")]
        failed = decide("no")
        return decide("ok"), states, failed.is_failed()

    assert main() == (5, ["Completed", "Skipped", "Failed", "Cancelled"], True)
    with pytest.raises(MissingResult, match="no value was stored"):
        empty()


def test_b5_policies_decide_what_is_the_same(tmp_path: Path) -> None:
    @task
    def stamp(x: Any, y: Any = 0) -> float:
        return time.monotonic()

    def same(of: Any, *calls: tuple[Any, ...]) -> bool:
        return len({of(*call) for call in calls}) == 1

    key = str(tmp_path)

    @flow
    def main() -> None:
        assert same(stamp.with_options(cache_policy=INPUTS - "y"), (key, 1), (key, 2))
        assert same(stamp.with_options(cache_policy=INPUTS + TASK_SOURCE), (key, 3), (key, 3))
        assert same(stamp.with_options(cache_policy=RUN_ID), (1,), (2,))
        assert not same(stamp.with_options(cache_policy=NO_CACHE), (key,), (key,))
        assert not same(stamp.with_options(cache_policy=INPUTS, refresh_cache=True), (key, 5), (key, 5))
        short = stamp.with_options(cache_key_fn=task_input_hash, cache_expiration=timedelta(milliseconds=1))
        first = short(key, 6)
        time.sleep(0.01)
        assert short(key, 6) != first
        unkeyed = stamp.with_options(cache_key_fn=lambda context, parameters: str(1 / 0))
        assert not same(unkeyed, (key, 7), (key, 7)), "a key function that raises means no caching"

    main()


def test_b5_a_key_within_one_flow_run() -> None:
    def within_flow_run(context: TaskRunContext, parameters: dict[str, Any]) -> str:
        return f"{context.flow_run_id}-{task_input_hash(context, parameters)}"

    @task(cache_key_fn=within_flow_run)
    def stamp() -> float:
        return time.monotonic()

    @flow
    def main() -> set[float]:
        return {stamp(), stamp()}

    once, again = main(), main()
    assert (len(once), len(again)) == (1, 1)
    assert once != again


def test_b7_what_an_upstream_failure_does() -> None:
    @flow
    def main() -> None:
        bad = boom.submit()
        waiting = add.submit(bad)  # type: ignore[arg-type]
        state = waiting.wait()
        assert state is not None
        assert (state.name, state.type.value) == ("NotReady", "PENDING")
        assert state.message == (
            "Upstream task run 'boom-0' did not reach a 'COMPLETED' state: it failed: ValueError: boom"
        )
        with pytest.raises(UnfinishedRun):
            waiting.result()
        assert identity([allow_failure(bad)])[0].args == ("boom",)
        admitted = identity.map(allow_failure([bad, add.submit(1)])).result()
        assert (str(admitted[0]), admitted[1]) == ("boom", 2)

    main()


def test_b9_annotations(task_runner: str) -> None:
    @flow
    def main() -> None:
        one = add.submit(0)
        assert identity(unmapped(one)) == identity(opaque(one)) == 1
        assert identity(quote({"a": 1})) == {"a": 1}
        if task_runner == "threads":
            assert identity(quote([one])) == [one], "the future itself"
            return
        with pytest.raises(NotPicklable, match="not to be followed"):
            identity(quote([one]))

    main()


def test_b11_how_flows_end() -> None:
    def ending(body: Any) -> str:
        state = flow(body)(return_state=True)
        return f"{state.type.value} {state.message}"

    assert ending(lambda: (boom.submit(), None)[1]) == "COMPLETED None", "not returned, does not count"
    assert ending(lambda: add.map([1, 2])) == "COMPLETED All states completed."
    assert ending(lambda: [add.submit(1), boom.submit()]) == "FAILED 1/2 states failed."
    assert ending(lambda: add.submit(boom.submit())) == "FAILED 1/1 states are not final."  # type: ignore[arg-type]
    assert ending(lambda: ("x", boom.submit())) == "COMPLETED None"
    assert ending(lambda: (add.submit(1), decide_cancelled.submit())) == "CANCELLED 1/2 states cancelled."


@task
def decide_cancelled() -> Any:
    return Cancelled()


def test_b11_a_flow_that_is_a_generator_returns_a_list() -> None:
    @flow
    def main() -> Iterator[int]:
        yield add(1)
        yield add(2)

    assert main() == [2, 3]


def test_b16_async_flows_tasks_and_subflows() -> None:
    @flow
    async def inner(x: int) -> int:
        return await add_async(x)

    @flow
    async def main() -> tuple[Any, ...]:
        gathered = await asyncio.gather(*(add_async(n) for n in range(3)))
        failed = await asyncio.gather(boom_async(), return_exceptions=True)
        flows = await asyncio.gather(inner(1), inner(2))
        future = add_async.submit(5)
        state = await add_async(1, return_state=True)  # type: ignore[misc]
        assert (state.name, str(failed[0])) == ("Completed", "async")
        return gathered, flows, await add_async(future), await future, add(1), add_async.map([1]).result()  # type: ignore[arg-type]

    assert asyncio.run(main()) == ([1, 2, 3], [2, 3], 7, 6, 2, [2])


def test_b16_generators() -> None:
    @task
    def count(n: int) -> Iterator[int]:
        yield from range(n)

    @task
    async def count_async(n: int) -> AsyncIterator[int]:
        for number in range(n):
            yield number

    @flow
    def main() -> tuple[Any, ...]:
        return list(count(3)), count.submit(3).result(), count_async.submit(2).result()

    @flow
    async def main_async() -> list[int]:
        return [number async for number in count_async(3)]

    assert main() == ([0, 1, 2], [0, 1, 2], [0, 1])
    assert asyncio.run(main_async()) == [0, 1, 2]


def test_row_14_a_timeout_is_a_timeout_error() -> None:
    @task(timeout_seconds=0.1)
    async def slow() -> None:
        await asyncio.sleep(30)

    @flow(timeout_seconds=0.1)
    def slow_flow() -> None:
        time.sleep(30)

    with pytest.raises(TaskRunTimeoutError):
        asyncio.run(slow())
    assert slow_flow(return_state=True).name == "TimedOut"


def test_row_15_and_69_what_the_console_shows(capsys: pytest.CaptureFixture[str]) -> None:
    @task(log_prints=True)
    def talk() -> None:
        print("printed", 1)
        get_run_logger().warning("logged")

    @flow(log_prints=True, flow_run_name="loud")
    def main() -> None:
        print("in the flow")
        talk()
        boom.submit().wait()

    main()
    shown = [line.partition("| ")[2] for line in capsys.readouterr().err.splitlines()]
    assert "INFO    | Flow run 'loud' - in the flow" in shown
    assert "INFO    | Task run 'talk-0' - printed 1" in shown
    assert "WARNING | Task run 'talk-0' - logged" in shown
    failed = "Finished in state Failed('Task run encountered an exception ValueError: boom')"
    assert f"ERROR   | Task run 'boom-0' - {failed}" in shown, "although nobody asked for its result"
    assert shown[-1] == "INFO    | Flow run 'loud' - Finished in state Completed()"
