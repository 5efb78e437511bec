"""The tasks that are measured, written as a user of the SDK writes them."""

from collections.abc import Callable
from typing import Any

from taskyard import flow, task


@task
def noop(value: int) -> None:
    """Do nothing."""


@task
def identity(value: int) -> int:
    return value


@task
def total(values: list[int]) -> int:
    return sum(values)


def in_flow(body: Callable[[], Any]) -> Any:
    """Run the body in a flow without making it a parameter: parameters are recorded with the run."""

    @flow
    def benchmark() -> Any:
        return body()

    return benchmark()
