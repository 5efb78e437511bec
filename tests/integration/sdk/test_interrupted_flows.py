"""Flows that are ended between any two instructions: whatever they were at, they end, and soon."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.plane_and_agent import Plane

from taskyard import flow, task
from taskyard.exceptions import FlowRunTimeoutError
from taskyard.settings import temporary_settings
from taskyard.states import State

# What was raised in vain is raised once more.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
ENDS_OF_EACH = 12
GENEROUS_SECONDS = 20.0


@task(retries=2, retry_delay_seconds=60)
def add(x: int) -> int:
    return x + 1


@task
def twice(x: int) -> int:
    return add(add(x))


@task
def count_to(n: int) -> Any:
    yield from range(n)


WORK: dict[str, Callable[[], object]] = {
    "calls": lambda: add(1, return_state=True),
    "nested calls": lambda: twice(1),
    "generators": lambda: list(count_to(3)),
    "submissions": lambda: add.submit(1),
    "maps": lambda: add.map([1, 2, 3]).result(),
}


@pytest.fixture(params=["agents", "threads"])
def runner(request: pytest.FixtureRequest, plane: Plane) -> Iterator[None]:
    with temporary_settings({"task_runner": request.param}):
        yield


def ended(work: Callable[[], object], seconds: float) -> State[Any]:
    """Return how a flow ends that does something until its time is up."""

    @flow(timeout_seconds=seconds)
    def endless() -> None:
        while True:
            work()

    return endless(return_state=True)


def says_how_all_end(work: Callable[[], object]) -> set[str | None]:
    chance, names = random.Random(7), set()
    for _ in range(ENDS_OF_EACH):
        began = time.monotonic()
        names.add(ended(work, 0.01 + 0.08 * chance.random()).name)
        assert time.monotonic() - began < GENEROUS_SECONDS
    return names


@pytest.mark.parametrize("what", WORK)
@pytest.mark.usefixtures("runner")
def test_a_flow_whose_time_is_up_ends_whatever_it_is_at(what: str) -> None:
    assert says_how_all_end(WORK[what]) == {"TimedOut"}


@pytest.mark.parametrize("what", WORK)
@pytest.mark.usefixtures("runner")
def test_so_does_one_in_another_thread(what: str) -> None:
    names: set[str | None] = set()
    thread = threading.Thread(target=lambda: names.update(says_how_all_end(WORK[what])))
    thread.start()
    thread.join(GENEROUS_SECONDS * ENDS_OF_EACH)
    assert names == {"TimedOut"}


@pytest.mark.usefixtures("runner")
def test_bodies_that_catch_every_exception_end_in_time() -> None:
    def whatever_happens() -> None:
        try:
            add(1)
        except Exception:  # of the body itself
            pass

    assert ended(whatever_happens, 0.2).name == "TimedOut"


@pytest.mark.usefixtures("runner")
def test_the_end_of_a_flow_inside_is_an_ordinary_error_outside() -> None:
    @flow
    def around() -> str:
        @flow(timeout_seconds=0.1)
        def inside() -> None:
            while True:
                add(1)

        try:
            inside()
        except FlowRunTimeoutError as error:
            return str(error)
        return "it went on"

    assert around() == "Flow run of 'inside' exceeded timeout of 0.1 second(s)"
