"""Flows take what their functions take; what is said with `return_state` is a state."""

from typing import Any, assert_type

from taskyard import Flow, State, flow, task
from taskyard.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner
from taskyard_dask import DaskTaskRunner
from taskyard_ray import RayTaskRunner


@task
def one() -> int:
    return 1


@flow
def counts(of: str, least: int = 0) -> int:
    return len(of)


@flow(name="named", retries=1, task_runner=ThreadPoolTaskRunner(max_workers=2), timeout_seconds=3)
def named(x: int) -> str:
    return str(x)


@flow(task_runner=ProcessPoolTaskRunner)
def in_processes() -> None: ...


@flow(task_runner=DaskTaskRunner(address="host:8786"))
def in_dask() -> None: ...


@flow(task_runner=RayTaskRunner())
def in_ray() -> None: ...


@flow(retris=1)  # E: mypy(call-overload) pyright(reportCallIssue)
def misspelt() -> None: ...


@flow(retries="one")  # E: mypy(call-overload) pyright(reportArgumentType)
def wrong_option() -> None: ...


@flow(tags=["x"])  # E: mypy(call-overload) pyright(reportCallIssue)
def no_such_option() -> None: ...


def calls() -> None:
    assert_type(counts("x"), int)
    assert_type(named(1), str)
    assert_type(counts("x", return_state=True), State[int])
    assert_type(counts("x", return_state=True).result(), int)
    assert_type(counts("x", wait_for=[one]), int)
    assert_type(counts("x", least=2), int)
    assert_type(in_processes(), None)
    counts(1)  # E: mypy(call-overload) pyright(reportArgumentType)
    counts("x", most=2)  # E: mypy(call-overload) pyright(reportCallIssue)
    counts()  # E: mypy(call-overload) pyright(reportCallIssue)
    word: str = counts("x")  # E: mypy(assignment) pyright(reportAssignmentType)
    counts("x", return_state=True).upper()  # E: mypy(attr-defined) pyright(reportAttributeAccessIssue)
    counts.submit("x")  # E: mypy(attr-defined) pyright(reportAttributeAccessIssue)


def as_objects() -> None:
    assert_type(counts.fn("x"), int)
    counts.fn(1)  # E: mypy(arg-type) pyright(reportArgumentType)
    again = counts.with_options(name="again", task_runner=ThreadPoolTaskRunner())
    assert_type(again("x"), int)
    again(1)  # E: mypy(call-overload) pyright(reportArgumentType)
    counts.with_options(retris=1)  # E: mypy(call-arg) pyright(reportCallIssue)
    takes_any: Flow[..., Any] = counts
    takes_int: Flow[[int], int] = counts  # E: mypy(assignment) pyright(reportAssignmentType)
    print(takes_any("x"), takes_int)


RayTaskRunner(adress="auto")  # E: mypy(call-arg) pyright(reportCallIssue)
DaskTaskRunner(address=8786)  # E: mypy(arg-type) pyright(reportArgumentType)
ThreadPoolTaskRunner(max_workers="2")  # E: mypy(arg-type) pyright(reportArgumentType)
