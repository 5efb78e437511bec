"""Rows 39 to 59, sections B8, B9 and B10: calls, futures, maps and what stands around arguments."""

import asyncio
import io
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from taskyard import allow_failure, as_completed, flow, opaque, quote, task, unmapped, wait
from taskyard.client.orchestration import SyncTaskyardClient
from taskyard.context import TaskRunContext
from taskyard.exceptions import MappingLengthMismatch, MappingMissingIterable, ParameterBindError
from taskyard.futures import FutureList
from taskyard.runtime import task_run


@task
def add(x: int, y: int = 1) -> int:
    return x + y


@task
def boom(text: str = "boom") -> int:
    raise ValueError(text)


@task
def identity(value: Any) -> Any:
    return value


@task
def gated(gate: str, value: int = 0) -> int:
    """Wait for a file, and return the value."""
    deadline = time.monotonic() + 60
    while not Path(gate).exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return value


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    return tmp_path / "gate"


def in_flow(body: Callable[[], Any]) -> Any:
    """Call a function as the body of a flow."""
    return flow(body)()


def test_row_39_arguments_are_bound_before_there_is_a_run(client: SyncTaskyardClient) -> None:
    @flow
    def main() -> Any:
        for call in (add, add.submit, lambda *args: add.map([1], *args)):
            with pytest.raises(ParameterBindError):
                call(1, 2, 3)
        with pytest.raises(ValueError, match="as it is"):
            boom("as it is")
        return add(1), add.submit(1).task_run_id

    value, run_id = main()
    assert value == 2
    assert client.read_task_run(run_id).name == "add-1", "calls that were refused are not counted"
    assert issubclass(ParameterBindError, TypeError)


def test_row_41_submit_returns_before_the_run_has_ended(gate: Path) -> None:
    def body() -> Any:
        future = gated.submit(str(gate), 5)
        state = future.state.name
        gate.touch()
        return state != "Completed", future.result()

    assert in_flow(body) == (True, 5)
    for call in (add.submit, lambda x: add.map([x])):
        with pytest.raises(RuntimeError, match=r"add\.delay"):
            call(1)


def test_rows_43_and_44_maps_zip_and_broadcast() -> None:
    def body() -> Any:
        futures = add.map([1, 2, 3], [10, 20, 30])
        assert isinstance(futures, FutureList)
        return futures.result(), add.map([1, 2], 5).result(), add.map(range(2), y=unmapped(7)).result()

    assert in_flow(body) == ([11, 22, 33], [6, 7], [7, 8])


def test_row_46_maps_follow_one_another_without_a_barrier(gate: Path) -> None:
    @task
    def first(n: int, gate: str) -> int:
        return gated.fn(gate, n) if n else n

    @task
    def opens(n: int, gate: str) -> int:
        Path(gate).touch()
        return n + 10

    def body() -> Any:
        second = opens.map(first.map([0, 1], str(gate)), str(gate))
        return identity(second), identity.submit(second).result()

    assert in_flow(body) == ([10, 11], [10, 11]), "the first one's second stage opens the gate of the other"


def test_row_47_and_b17_1_a_deferred_run_waits_and_is_found_by_its_id(client: SyncTaskyardClient) -> None:
    future = add.delay(1, y=2)
    assert future.result(timeout=30) == 3
    states = client.read_task_run_states(future.task_run_id)
    assert (states[0].name, states[-1].name) == ("Pending", "Completed")
    assert client.read_task_run(future.task_run_id).flow_run_id is None
    with pytest.raises(TypeError, match="takes a tuple"):
        add.apply_async(1)  # type: ignore[arg-type]


def test_row_48_a_deferred_map_needs_no_flow() -> None:
    futures = add.map([1, 2], y=unmapped(10), deferred=True)
    assert [future.result(timeout=30) for future in futures] == [11, 12]


def test_rows_51_and_53_waiting_is_silent_and_states_are_read_at_once(gate: Path) -> None:
    def body() -> None:
        future = gated.submit(str(gate))
        assert future.wait(timeout=0.01) is None
        assert future.get_state().is_final() is False
        gate.touch()
        state = future.wait()
        assert state is not None
        assert (state.is_completed(), future.get_state().name, future.state.name) == (
            True,
            *["Completed"] * 2,
        )
        failed = boom.submit().wait(timeout=30)
        assert failed is not None
        assert failed.is_failed(), "a failure is not raised"

    in_flow(body)


def test_row_53_and_b3_6_a_run_that_goes_on_is_running(gate: Path, client: SyncTaskyardClient) -> None:
    def body() -> Any:
        future = gated.submit(str(gate))
        deadline = time.monotonic() + 60
        while future.get_state().name != "Running":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        read = client.read_task_run(future.task_run_id)
        gate.touch()
        return read.state_name, read.start_time is not None

    assert in_flow(body) == ("Running", True)


def test_row_54_a_list_of_futures_waits_for_all_of_them(gate: Path) -> None:
    def body() -> None:
        assert add.map([3, 1, 2]).result() == [4, 2, 3]
        futures = boom.map(["a", "b"])
        futures.wait()
        assert all(future.state.is_failed() for future in futures)
        with pytest.raises(ValueError, match="a"):
            futures.result()
        assert [str(error) for error in futures.result(raise_on_failure=False)] == ["a", "b"]
        slow = gated.map([str(gate)])
        with pytest.raises(TimeoutError, match=r"all futures to complete within 0\.01 seconds"):
            slow.result(timeout=0.01)
        gate.touch()

    in_flow(body)


def test_row_55_timeouts_are_not_negative_and_futures_counted_once(gate: Path) -> None:
    def body() -> None:
        one = add.submit(1)
        assert list(as_completed([one, one])) == [one]
        assert wait([one, one]).done == {one}
        for call in (wait, as_completed):
            with pytest.raises(ValueError, match="timeout"):
                list(call([one], timeout=-1))
        slow = gated.submit(str(gate))
        arriving = as_completed([slow, one], timeout=0.05)
        assert next(arriving) is one, "what is over comes first"
        with pytest.raises(TimeoutError, match=r"1 \(of 2\) futures unfinished"):
            next(arriving)
        assert wait([slow], timeout=0) == (set(), {slow})
        gate.touch()

    in_flow(body)


def test_row_58_a_run_inside_of_another_one_knows_it() -> None:
    @task
    def inner() -> Any:
        context = TaskRunContext.get()
        return str(context.task_run.parent_run_id) if context else ""

    @task
    def outer() -> Any:
        return task_run.id, inner()

    def body() -> Any:
        return inner(), outer()

    alone, (outer_id, parent) = in_flow(body)
    assert (alone, parent) == ("None", outer_id)


def test_b8_1_defaults_are_not_mapped_and_keywords_are() -> None:
    @task
    def takes(x: int, more: Any = (1, 2), *rest: int, **named: int) -> Any:
        return x, more, rest, sorted(named.items())

    def body() -> Any:
        return takes.map([1, 2]).result(), takes.map([1, 2], 0, [3, 4], a=[5, 6], b=7).result()

    expected = [(1, 0, (3,), [("a", 5), ("b", 7)]), (2, 0, (4,), [("a", 6), ("b", 7)])]
    assert in_flow(body) == ([(1, (1, 2), (), []), (2, (1, 2), (), [])], expected)


def test_b8_2_text_is_one_value_and_a_dict_is_mapped_over_its_keys() -> None:
    @task
    def pair(x: Any, y: Any) -> Any:
        return x, y

    def body() -> Any:
        one = [pair.map([1], text).result() for text in ("ab", b"ab")]
        return one, identity.map({"k": 1, "l": 2}).result(), sorted(identity.map({3, 4}).result())

    assert in_flow(body) == ([[(1, "ab")], [(1, b"ab")]], ["k", "l"], [3, 4])
    with pytest.raises(MappingMissingIterable):
        in_flow(lambda: identity.map(io.StringIO("a\nb")))


def test_b8_3_errors_say_what_cannot_be_mapped() -> None:
    def body() -> Any:
        with pytest.raises(MappingMissingIterable, match="iterable"):
            add.map(1, unmapped([2, 3]))
        with pytest.raises(MappingLengthMismatch, match=r"x.*2.*y.*1"):
            add.map([1, 2], [1])
        empty = add.map([])
        return list(empty), empty.result(), add.map([], return_state=True)

    assert in_flow(body) == ([], [], [])


def test_b8_4_annotations_are_put_around_each_element() -> None:
    def body() -> Any:
        futures = [add.submit(1), boom.submit()]
        admitted = identity.map(allow_failure(futures)).result()
        return admitted[0], str(admitted[1]), identity.map(quote([[1], [2]])).result()

    assert in_flow(body) == (2, "boom", [[1], [2]])


def test_b8_5_each_run_of_a_map_waits_for_all_of_wait_for(gate: Path) -> None:
    def body() -> Any:
        first = gated.submit(str(gate))
        futures = add.map([1, 2], wait_for=[first])
        assert not any(future.state.is_running() or future.state.is_final() for future in futures)
        gate.touch()
        bad = add.map([1, 2], wait_for=[boom.submit()], return_state=True)
        return futures.result(), [state.name for state in bad]

    assert in_flow(body) == ([2, 3], ["NotReady", "NotReady"])


def test_b8_6_futures_are_in_the_order_of_the_elements(gate: Path) -> None:
    def body() -> Any:
        futures = gated.map([str(gate), __file__], [1, 2])
        ended = next(iter(as_completed(futures)))
        gate.touch()
        return ended.result(), futures.result()

    assert in_flow(body) == (2, [1, 2])
    with pytest.raises(RuntimeError, match=r"add\.delay"):
        add.map([1])


def test_b9_1_to_3_what_is_looked_into() -> None:
    def body() -> Any:
        one = add.submit(1)
        assert identity(quote(3)) == 3
        assert identity(unmapped([one])) == [2]
        return identity(opaque(one)), unmapped(4).unwrap(), unmapped(4).rewrap(5).unwrap()

    assert in_flow(body) == (2, 4, 5)


def test_b9_4_failures_are_admitted_inside_of_other_annotations() -> None:
    def body() -> Any:
        bad = boom.submit()
        given = [identity(allow_failure(bad)), identity(unmapped(allow_failure(bad)))]
        return [str(error) for error in given], identity.submit(bad, return_state=True).name

    assert in_flow(body) == (["boom", "boom"], "NotReady")


@dataclass
class Checked:
    """Notes with what it is made."""

    amount: Any
    kinds: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.kinds = [*self.kinds, type(self.amount).__name__]


class Model(BaseModel):
    """Refuses text."""

    amount: Any

    @field_validator("amount")
    @classmethod
    def is_no_text(cls, amount: Any) -> Any:
        if isinstance(amount, str):
            raise ValueError("text")
        return amount


def test_b9_5_objects_with_futures_arrive_with_values() -> None:
    def body() -> Any:
        text = identity.submit("text")
        given, model = identity(Checked(text)), identity(Model(amount=text))
        return given.amount, given.kinds, model.amount

    assert in_flow(body) == ("text", ["Future"], "text"), "without being made, or validated, again"


def test_b10_1_a_timeout_names_the_run(gate: Path) -> None:
    def body() -> None:
        slow = gated.submit(str(gate))
        with pytest.raises(TimeoutError) as caught:
            slow.result(timeout=0.01)
        assert str(caught.value) == f"Task run {slow.task_run_id} did not complete within 0.01 seconds"
        gate.touch()
        with pytest.raises(ValueError, match="boom"):
            boom.submit().result(timeout=30)
        assert str(boom.submit().result(raise_on_failure=False)) == "boom"

    in_flow(body)


def test_b10_2_a_callback_of_a_run_that_is_over_is_called_at_once() -> None:
    def body() -> None:
        future = add.submit(1)
        future.wait()
        seen: list[Any] = []
        future.add_done_callback(lambda done: seen.append((done.result(), threading.get_ident())))
        assert seen == [(2, threading.get_ident())]

    in_flow(body)


def test_b10_5_futures_are_awaited() -> None:
    @flow
    async def main() -> Any:
        future = add.submit(1)
        assert future == future
        assert len({future, future, add.submit(1)}) == 2
        return await future, await add.map([1, 2]), await future.aresult()

    assert asyncio.run(main()) == (2, [2, 3], 2)
