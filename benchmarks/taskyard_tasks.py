"""The tasks that are measured, written as a user of the SDK writes them."""

from collections.abc import Callable
from typing import Any

from benchmarks import arrays
from benchmarks.workloads import w8_graph
from taskyard import flow, task, unmapped


@task
def noop(value: int) -> None:
    """Do nothing."""


@task
def identity(value: int) -> int:
    return value


@task
def total(values: list[int]) -> int:
    return sum(values)


@task
def add(left: int, right: int) -> int:
    return w8_graph.add(left, right)


@task
def make(number: int, size: int) -> Any:
    return arrays.make(number, size)


@task
def read(array: Any, position: int = 0) -> float:
    return arrays.read(array, position)


def read_shared(array: Any, count: int) -> list[Any]:
    """Have one array read by many tasks."""
    return list(read.map(unmapped(array), range(count)))


def in_flow(body: Callable[[], Any]) -> Any:
    """Run the body in a flow without making it a parameter: parameters are recorded with the run."""

    @flow
    def benchmark() -> Any:
        return body()

    return benchmark()
