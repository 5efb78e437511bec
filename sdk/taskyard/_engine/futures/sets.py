"""Several futures at once: lists of them, waiting for all, taking them as they end.

Invariant: results come in the order of the list, whatever the order in which runs end.
"""

import time
from collections.abc import Generator, Iterable, Iterator
from typing import Any, Generic, NamedTuple, TypeVar

from taskyard._data.values.waits import waiting_for
from taskyard._durable_names import public
from taskyard._engine.futures.future import Future
from taskyard._engine.futures.waiting import Arrivals, wait_blocking
from taskyard.context import current_context

R = TypeVar("R")


@public("taskyard.futures")
class DoneAndNotDone(NamedTuple, Generic[R]):
    """What `wait` returns: two sets of futures."""

    done: set[Future[R]]
    not_done: set[Future[R]]


@public("taskyard.futures")
class FutureList(list[Future[R]]):
    """The futures of a `map`, in the order of its items."""

    def wait(self, timeout: float | None = None) -> None:
        """Wait until all have ended, or the timeout has passed."""
        wait(self, timeout)

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> list[R]:
        """Wait for all and return their values in order.

        Args:
            timeout: Longest time to wait for all of them, in seconds.
            raise_on_failure: Whether to raise the first exception; otherwise exceptions are among the values.

        Raises:
            TimeoutError: Some did not end in time.
            Exception: Whatever the first failed task raised.
        """
        if timeout is None:
            with waiting_for(self, current_context()):
                return [future.result(None, raise_on_failure) for future in self]
        deadline = time.monotonic() + timeout
        values = []
        with waiting_for(self, current_context()):
            for future in self:
                if not wait_blocking(future, max(0.0, deadline - time.monotonic())):
                    text = f"Timed out waiting for all futures to complete within {timeout} seconds"
                    raise TimeoutError(text)
                values.append(future.result(None, raise_on_failure))
        return values

    async def aresult(self, timeout: float | None = None, raise_on_failure: bool = True) -> list[R]:
        """Wait for all without blocking the event loop, and return their values, like `result`."""
        import asyncio

        try:
            async with asyncio.timeout(timeout):
                with waiting_for(self, current_context()):
                    return [await future.aresult(None, raise_on_failure) for future in self]
        except TimeoutError:
            if all(future.done() for future in self):
                raise  # it is what a task raised
            raise TimeoutError(
                f"Timed out waiting for all futures to complete within {timeout} seconds"
            ) from None

    def __await__(self) -> Generator[Any, None, list[R]]:
        """Wait for all values: ``await task.map(...)``."""
        return self.aresult().__await__()

    def __reduce__(self) -> tuple[Any, ...]:
        """Become a plain list of references."""
        return list, (list(self),)


@public("taskyard.futures")
def wait(futures: Iterable[Future[R]], timeout: float | None = None) -> DoneAndNotDone[R]:
    """Wait for several futures.

    Args:
        futures: The futures; duplicates count once.
        timeout: Longest time to wait, in seconds. It is no error when it passes.

    Returns:
        The futures whose runs have ended, and the others.

    Raises:
        ValueError: The timeout is negative.
    """
    wanted = set(futures)
    deadline = _deadline(timeout)
    with waiting_for(list(wanted), current_context()):
        for future in wanted:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not wait_blocking(future, left):
                break
    done = {future for future in wanted if future.done()}
    return DoneAndNotDone(done, wanted - done)


@public("taskyard.futures")
def as_completed(futures: Iterable[Future[R]], timeout: float | None = None) -> Iterator[Future[R]]:
    """Yield futures as their runs end, those that have ended already first.

    What was yielded is not kept: of futures that the caller lets go, nothing stays in memory.

    Args:
        futures: The futures; duplicates count once. They are taken when the first one is asked for.
        timeout: Longest time to wait for all of them, in seconds.

    Raises:
        TimeoutError: Some did not end in time.
        ValueError: The timeout is negative.
    """
    return _as_completed([futures], timeout, _deadline(timeout))


def _as_completed(
    given: list[Iterable[Future[R]]], timeout: float | None, deadline: float | None
) -> Iterator[Future[R]]:
    arrivals = Arrivals(given.pop())  # or the list they came in would be held here
    total = len(arrivals)
    try:
        while arrivals:
            future = arrivals.next(None if deadline is None else max(0.0, deadline - time.monotonic()))
            if future is None:
                raise TimeoutError(f"{len(arrivals)} (of {total}) futures unfinished")
            yield future
            del future
    finally:
        arrivals.close()


def _deadline(timeout: float | None) -> float | None:
    if timeout is None:
        return None
    if timeout < 0:
        raise ValueError(f"the timeout is {timeout}; it must not be negative")
    return time.monotonic() + timeout
