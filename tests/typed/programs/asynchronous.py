"""Coroutine functions, generators and asynchronous generators as tasks and flows."""

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import assert_type

from taskyard import Future, FutureList, State, flow, task


@task
async def fetch(url: str, tries: int = 1) -> bytes:
    return url.encode()


@task
def numbers(upto: int) -> Generator[int, None, None]:
    yield from range(upto)


@task
async def letters(of: str) -> AsyncGenerator[str, None]:
    for letter in of:
        yield letter


@flow
async def downloads(urls: list[str]) -> int:
    assert_type(await fetch("x"), bytes)
    fetch(1)  # E: mypy(call-overload) pyright(reportArgumentType)
    text: str = await fetch("x")  # E: mypy(assignment) pyright(reportAssignmentType)
    future = fetch.submit("x")
    assert_type(future, Future[bytes])
    assert_type(future.result(), bytes)
    assert_type(await future.aresult(), bytes)
    assert_type(await future, bytes)
    assert_type(await future.result_async(), bytes)
    assert_type(await future.wait_async(), State[bytes] | None)
    futures = fetch.map(urls)
    assert_type(futures, FutureList[bytes])
    assert_type(await futures, list[bytes])
    assert_type(await futures.aresult(), list[bytes])
    assert_type(await fetch("x", return_state=True), State[bytes])
    assert_type(fetch.submit("x", return_state=True), State[bytes])
    assert_type(fetch.map(urls, return_state=True), list[State[bytes]])
    assert_type(fetch.delay("x").result(), bytes)
    fetch.delay(1)  # E: mypy(call-overload) pyright(reportArgumentType, reportCallIssue)
    again = fetch.with_options(retries=2)
    assert_type(await again("x", tries=2), bytes)
    assert_type(again.submit("x"), Future[bytes])
    assert_type(await fetch.fn("x"), bytes)
    await fetch.fn(2)  # E: mypy(arg-type) pyright(reportArgumentType)
    return len(futures)


async def programs() -> None:
    assert_type(await downloads(["x"]), int)
    assert_type(await downloads(["x"], return_state=True), State[int])
    assert_type((await downloads(["x"], return_state=True)).result(), int)
    await downloads("x", 2)  # E: mypy(call-overload) pyright(reportCallIssue)
    downloads(["x"]) + 1  # E: mypy(operator) pyright(reportOperatorIssue)


def values() -> None:
    assert_type(numbers(3), Generator[int, None, None])
    for number in numbers(3):
        assert_type(number, int)
    numbers("3")  # E: mypy(call-overload) pyright(reportArgumentType)
    taken: Iterator[str] = numbers(3)  # E: mypy(assignment) pyright(reportAssignmentType)
    assert_type(numbers.submit(3).result(), list[int])
    assert_type(numbers.map([1, 2]).result(), list[list[int]])


async def later_values() -> None:
    async for letter in letters("x"):
        assert_type(letter, str)
    letters(3)  # E: mypy(call-overload) pyright(reportArgumentType)
    taken: AsyncIterator[int] = letters("x")  # E: mypy(assignment) pyright(reportAssignmentType)
    assert_type(letters.submit("x").result(), list[str])
