"""Runs of a thread agent that their callers execute themselves, in the threads that have called them.

Each attempt is handed to the caller through a queue (`assigned`). The caller can be interrupted at any
instruction, so what it has got may be in no variable of its yet: that nobody executes an attempt is decided
on the loop's thread, which knows all attempts (`leave`).

Invariant: a direct call whose caller has gone is executed by nobody, and each of its attempts is reported.
"""

import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing
from typing import Any

from taskyard._engine.execution.interrupts import raise_missed
from taskyard._engine.thread_agent.attempts import ThreadAttempt, calling
from taskyard._engine.thread_agent.callers import Caller, Callers
from taskyard._engine.thread_agent.kept import Kept
from taskyard_contract.programs.uninterrupted import uninterrupted

Call = Kept[ThreadAttempt]


class _OfThread(threading.local):
    """What a thread is about to do."""

    entered: Call | None = None
    """The call that it has kept and does not serve yet."""


class DirectCalls:
    """The callers that execute, and what they are handed. Methods of callers run in their threads."""

    def __init__(self, wake: Callable[[], None], left: Callable[[Call], None]) -> None:
        """Begin without calls.

        Args:
            wake: Called when more, or fewer, callers want something to execute.
            left: Called when a caller has gone: has what was assigned to it reported, and what will be.
        """
        self.callers = Callers(wake)
        self._left = left
        self._of_thread = _OfThread()

    def enter(self, kept: Call) -> None:
        """Note that this thread is about to submit a call that it will serve."""
        self._of_thread.entered = kept

    def leave_entered(self, why: BaseException) -> Call | None:
        """Leave the call that this thread has not begun to serve; returns it, if there is one."""
        kept, self._of_thread.entered = self._of_thread.entered, None
        if kept is not None:
            self._leave(kept, why)
        return kept

    def serve(self, kept: Call) -> None:
        """Execute a run in this thread until it has ended.

        What ends the flow that calls it ends an attempt too, and is raised here once that is reported.
        """
        caller = Caller(self.callers)
        try:
            self._of_thread.entered = None
            caller.expects()
            with calling(kept):
                while (attempt := kept.assigned.get()) is not None:
                    caller.got()
                    attempt.execute()
                    if attempt.for_the_caller is not None:
                        raise attempt.for_the_caller
                    raise_missed()
                    if not kept.future.done():  # it is repeated
                        caller.expects()
        except BaseException as error:
            self._leave(kept, error)
            raise
        finally:
            caller.goes()

    def iterate(self, kept: Call) -> Generator[Any, Any, None]:
        """Execute a run of a generator task while its caller takes the values."""
        try:
            self._of_thread.entered = None
            while (attempt := self._awaited(kept)) is not None:
                with self.callers.apart():
                    yield from attempt.iterate()
        except BaseException as error:  # also: its caller takes no further value
            self._leave(kept, error)
            raise

    async def iterate_async(self, kept: Call) -> AsyncGenerator[Any, None]:
        """Execute a run of an asynchronous generator task while its caller takes the values."""
        from asyncio import to_thread

        try:
            self._of_thread.entered = None
            while (attempt := await to_thread(self._awaited, kept)) is not None:
                with self.callers.apart():
                    async with aclosing(attempt.iterate_async()) as values:
                        async for value in values:
                            yield value
        except BaseException as error:
            self._leave(kept, error)
            raise

    def _awaited(self, kept: Call) -> ThreadAttempt | None:
        """Wait for the next attempt of a generator; None when its run has ended."""
        caller = Caller(self.callers)
        try:
            caller.expects()
            with calling(kept):
                return kept.assigned.get()
        finally:
            caller.goes()

    @uninterrupted
    def _leave(self, kept: Call, why: BaseException) -> None:
        kept.left = why
        self._left(kept)
