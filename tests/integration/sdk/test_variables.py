"""Variables are shared by programs, flows and tasks, wherever these run."""

import asyncio
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from support.plane_and_agent import Plane

import taskyard
from taskyard import flow, task
from taskyard.exceptions import TaskyardError
from taskyard.variables import Variable


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return f"my_var-{uuid4().hex}"


@task
def reads(name: str) -> Any:
    return Variable.get(name)


@task
async def reads_async(name: str) -> Any:
    return [await Variable.get(name), await Variable.aget(name)]


@task
def counts(name: str) -> None:
    Variable.set(name, Variable.get(name, 0) + 1, overwrite=True)


@flow
def reads_everywhere(name: str) -> list[Any]:
    return [Variable.get(name), reads(name), reads.submit(name).result()]


@flow
async def reads_in_a_loop(name: str) -> list[Any]:
    return [await Variable.get(name), *(await reads_async(name))]


@pytest.mark.parametrize(
    "value", [None, True, 0, -1.5, "", "tëxt\0\ud800", [1, [2]], {"a": {"b": None}}, 2**70]
)
def test_a_variable_is_read_as_it_was_set(plane: Plane, name: str, value: Any) -> None:
    made = Variable.set(name, value, tags=["a", "b"])
    assert (made.name, made.value, made.tags) == (name, value, ["a", "b"])
    found = Variable.get(name, default="other")
    assert found == value
    assert type(found) is type(value)


def test_what_is_not_there_has_the_default(plane: Plane, name: str) -> None:
    assert Variable.get(name) is None
    assert Variable.get(name, 7) == 7
    assert Variable.get("Not A Name", 7) == 7
    assert Variable.get("a" * 600, 7) == 7
    assert Variable.unset("a" * 600) is False


def test_a_variable_is_not_overwritten_by_accident(plane: Plane, name: str) -> None:
    Variable.set(name, 1)
    said = f"Variable '{name}' already exists. Use `overwrite=True` to update it."
    with pytest.raises(ValueError, match=said):
        Variable.set(name, 2)
    assert Variable.get(name) == 1
    assert Variable.set(name, 2, overwrite=True).tags == []
    assert Variable.get(name) == 2


def test_a_variable_is_removed_once(plane: Plane, name: str) -> None:
    Variable.set(name, 1)
    assert Variable.unset(name) is True
    assert Variable.unset(name) is False
    assert Variable.get(name) is None
    Variable.set(name, 2)


@pytest.mark.parametrize("wrong", ["", "Big", "a b", "a/b", "ä", "a.b"])
def test_a_name_has_a_form(plane: Plane, wrong: str) -> None:
    with pytest.raises(
        ValueError, match="must only contain lowercase letters, numbers, and dashes or undersc"
    ):
        Variable.set(wrong, 1)
    assert Variable.unset(wrong) is False


def test_a_name_is_not_too_long(plane: Plane) -> None:
    with pytest.raises(ValueError, match="256 characters, at most 255"):
        Variable.set("a" * 256, 1)
    Variable.set("a" * 255, 1, overwrite=True)


@pytest.mark.parametrize("value", [{1}, (1,), {1: 2}, b"x", float("nan"), object(), [{"a": {1: 2}}]])
def test_what_json_does_not_have_is_refused(plane: Plane, name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"variable '{name}' cannot have this value of type"):
        Variable.set(name, value)
    assert Variable.get(name) is None


def test_what_is_too_large_is_refused(plane: Plane, name: str) -> None:
    with pytest.raises(TaskyardError, match="at most 524288 are kept"):
        Variable.set(name, "x" * 600_000)


async def _in_a_loop(name: str) -> list[Any]:
    awaited = Variable.set(name, 1)
    assert asyncio.iscoroutine(awaited)
    await awaited
    return [
        await Variable.get(name),  # type: ignore[misc]
        (await Variable.aset(name, 2, overwrite=True)).value,
        await Variable.aget(name),
        await Variable.unset(name),  # type: ignore[misc]
        await Variable.aunset(name),
    ]


def test_in_a_loop_calls_return_awaitables(plane: Plane, name: str) -> None:
    assert asyncio.run(_in_a_loop(name)) == [1, 2, 2, True, False]


async def _calls_a_flow(name: str) -> list[Any]:
    return reads_everywhere(name)


@pytest.mark.parametrize("runner", ["agents", "threads"])
def test_flows_and_tasks_read_and_write_them(
    plane: Plane, name: str, runner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKYARD_TASK_RUNNER", runner)
    Variable.set(name, ["x"])
    assert reads_everywhere(name) == [["x"]] * 3
    assert asyncio.run(reads_in_a_loop(name)) == [["x"]] * 3
    # A flow that is not asynchronous cannot await, also where a loop runs on its thread.
    assert asyncio.run(_calls_a_flow(name)) == [["x"]] * 3
    counts(f"{name}-2")
    counts(f"{name}-2")
    assert Variable.get(f"{name}-2") == 2


def test_of_many_that_set_one_anew_one_succeeds(plane: Plane, name: str) -> None:
    def attempt(number: int) -> bool:
        try:
            Variable.set(name, number)
        except ValueError:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(attempt, range(8))) == 1


def test_many_that_overwrite_all_come_through(plane: Plane, name: str) -> None:
    with ThreadPoolExecutor(64) as threads:  # more than attempts: each success is a failure of all others
        list(threads.map(lambda number: Variable.set(name, number, overwrite=True), range(64)))
    assert Variable.get(name) in range(64)


def test_they_outlive_the_server(plane: Plane, name: str) -> None:
    Variable.set(name, 1)
    plane.restart()
    assert Variable.get(name) == 1


def test_the_package_has_the_name() -> None:
    assert taskyard.Variable is Variable


def test_a_forked_process_says_why_it_cannot(plane: Plane, name: str) -> None:
    Variable.set(name, 1)
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks beside threads
        pid = os.fork()
    if pid == 0:
        try:
            Variable.get(name)
        except TaskyardError as error:
            os.write(writing, str(error).encode())
        os._exit(0)
    os.close(writing)
    with open(reading, encoding="utf-8") as told:
        assert "forked" in told.read()
    os.waitpid(pid, 0)
    assert Variable.get(name) == 1
