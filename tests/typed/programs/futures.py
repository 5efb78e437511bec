"""Futures, sets of futures, states."""

from typing import assert_type

from taskyard import Completed, Failed, Future, State, as_completed, flow, task, wait
from taskyard.futures import FutureList, TaskyardFuture


@task
def length(of: str) -> int:
    return len(of)


@flow
def waits() -> None:
    futures = [length.submit(word) for word in ("a", "b")]
    assert_type(futures, list[Future[int]])
    for future in as_completed(futures):
        assert_type(future, Future[int])
        assert_type(future.result(timeout=3), int)
    for future in as_completed(length.map(["a"]), timeout=1.5):
        assert_type(future.result(), int)
    done, not_done = wait(futures, timeout=2)
    for ended in done:
        assert_type(ended.result(), int)
    assert_type(wait(futures).not_done, set[Future[int]])
    both: TaskyardFuture[int] = futures[0]
    assert_type(both.wait(), State[int])
    assert_type(both.wait(1), State[int] | None)
    assert_type(FutureList(futures).result(), list[int])
    futures[0].add_done_callback(said)
    futures[0].add_done_callback(said_of_text)  # E: mypy(arg-type) pyright(reportArgumentType)
    wait(1)  # E: mypy(arg-type) pyright(reportArgumentType)
    as_completed(length)  # E: mypy(arg-type) pyright(reportArgumentType)
    futures[0].result(timout=1)  # E: mypy(call-arg) pyright(reportCallIssue)
    futures[0].result(timeout="1")  # E: mypy(arg-type) pyright(reportArgumentType)
    wrong: Future[str] = futures[0]  # E: mypy(assignment) pyright(reportAssignmentType)
    print(both, not_done, wrong)


def said(future: Future[int]) -> None:
    print(future.result())


def said_of_text(future: Future[str]) -> None:
    print(future.result())


def states(state: State[int]) -> None:
    assert_type(state.result(), int)
    assert_type(state.is_completed(), bool)
    text: str = state.result()  # E: mypy(assignment) pyright(reportAssignmentType)
    state.reslt()  # E: mypy(attr-defined) pyright(reportAttributeAccessIssue)
    print(Completed(message="done"), Failed(message="not done"))
