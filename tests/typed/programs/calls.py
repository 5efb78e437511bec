"""Calls of tasks take what the function takes and give what it gives."""

from collections.abc import Callable
from typing import Any, assert_type

from taskyard import Future, FutureList, State, Task, task, unmapped


@task
def add(x: int, y: int = 1, *, label: str = "") -> int:
    return x + y


@task(retries=2, name="named", tags=["a"])
def name_of(of: str) -> str:
    return of


def calls() -> None:
    assert_type(add(1), int)
    assert_type(add(1, 2, label="sum"), int)
    assert_type(name_of("x"), str)
    add("1")  # E: mypy(call-overload) pyright(reportArgumentType)
    add(1, y="2")  # E: mypy(call-overload) pyright(reportArgumentType)
    add()  # E: mypy(call-overload) pyright(reportCallIssue)
    add(1, 2, 3)  # E: mypy(call-overload) pyright(reportCallIssue)
    add(1, labl="sum")  # E: mypy(call-overload) pyright(reportCallIssue)
    text: str = add(1)  # E: mypy(assignment) pyright(reportAssignmentType)
    name_of(1).upper()  # E: mypy(call-overload) pyright(reportArgumentType)


def states() -> None:
    assert_type(add(1, return_state=True), State[int])
    assert_type(add(1, return_state=True).result(), int)
    assert_type(add(1, wait_for=[name_of]), int)
    add(1, return_state=True).lower()  # E: mypy(attr-defined) pyright(reportAttributeAccessIssue)


def submitted() -> None:
    future = add.submit(1)
    assert_type(future, Future[int])
    assert_type(future.result(), int)
    assert_type(future.state, State[int])
    assert_type(add.submit(future, y=2), Future[int])  # a future stands for its value
    assert_type(add.submit(1, wait_for=[future]), Future[int])
    assert_type(add.submit(1, return_state=True), State[int])
    add.submit(1).result().upper()  # E: mypy(attr-defined) pyright(reportAttributeAccessIssue)
    number: str = add.submit(1).result()  # E: mypy(assignment) pyright(reportAssignmentType)
    future.nothing  # E: mypy(attr-defined) pyright(reportAttributeAccessIssue)


def mapped() -> None:
    futures = add.map([1, 2], unmapped(3))
    assert_type(futures, FutureList[int])
    assert_type(futures.result(), list[int])
    assert_type(futures[0], Future[int])
    assert_type([future.result() for future in futures], list[int])
    assert_type(add.map(futures, return_state=True), list[State[int]])
    words: list[str] = add.map([1]).result()  # E: mypy(assignment) pyright(reportAssignmentType)


def deferred() -> None:
    assert_type(add.delay(1).result(), int)
    assert_type(add.delay(1, y=2, label="x").task_run_id.hex, str)
    add.delay("1")  # E: mypy(arg-type) pyright(reportArgumentType)
    add.delay(1, z=2)  # E: mypy(call-arg) pyright(reportCallIssue)
    assert_type(add.apply_async((1,), {"y": 2}).result(), int)


def as_objects() -> None:
    assert_type(add.fn(1, 2), int)
    add.fn("1")  # E: mypy(arg-type) pyright(reportArgumentType)
    assert_type(add.name, str)
    again = add.with_options(retries=3, name="again")
    assert_type(again(1, label="x"), int)
    again("1")  # E: mypy(call-overload) pyright(reportArgumentType)
    add.with_options(retris=3)  # E: mypy(call-arg) pyright(reportCallIssue)
    add.with_options(retries="three")  # E: mypy(arg-type) pyright(reportArgumentType)
    plain: Callable[[int], int] = add
    takes_any: Task[..., Any] = add
    takes_int: Task[[str], int] = add  # E: mypy(assignment) pyright(reportAssignmentType)
    print(plain(1), takes_any("x"), takes_int)


@task(retris=2)  # E: mypy(call-overload) pyright(reportCallIssue)
def misspelt() -> None: ...


@task(timeout_seconds="1 minute")  # E: mypy(call-overload) pyright(reportArgumentType)
def wrong_option() -> None: ...


task(3)  # E: mypy(call-overload) pyright(reportArgumentType, reportCallIssue)
