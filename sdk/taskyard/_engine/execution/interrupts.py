"""What stops the body of a flow, or of a task, from outside: a cancellation, a timeout.

Invariant: an interruption is raised inside the body or not at all; one that comes too late is swallowed here
and never hits the engine, or the program, afterwards; and one that comes while a run is being handed over
waits until it is (`uninterrupted`). In the main thread signals do it, because they also
end blocking calls; other threads get an exception at their next bytecode.
"""

import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from taskyard.exceptions import FlowCancelled, FlowRunTimeoutError, FlowTimedOut, TerminationSignal
from taskyard_contract.programs.uninterrupted import SOON_SECONDS, is_uninterrupted

if TYPE_CHECKING:
    import asyncio

_LATE_SECONDS: Final = 0.2
"""How long a signal that was sent may take to arrive before its handler is taken away."""
_SOON: Final = 0.001
"""A timer of somebody else that ran out meanwhile still has to ring; 0 would switch it off."""


INSIST_SECONDS: Final = 0.5
"""After how long something is raised again that was raised and has not ended the body."""
_CANCEL_SECONDS: Final = 1.0
"""How long a coroutine may take to notice that it is cancelled."""
T = TypeVar("T")


class ThreadInterrupter:
    """Raises an exception in one thread, at its next bytecode; a coroutine is cancelled where it waits."""

    def __init__(self, kind: type[BaseException]) -> None:
        """Prepare to raise `kind` in the current thread."""
        from taskyard._engine.execution import raising  # before anything can be raised in here

        self._raise_in, self._take_back = raising.raise_in, raising.take_back
        self._kind = kind
        self._thread = threading.get_ident()
        self._lock = threading.Lock()
        self._active = True
        self._sent = False
        self._task: asyncio.Task[Any] | None = None
        self._cancelled: type[BaseException] | None = None
        _around.threads.append(self)

    def interrupt(self, kind: type[BaseException] | None = None) -> None:
        """Raise it, or an exception of another kind, unless the body has ended. From any thread."""
        with self._lock:
            if self._active and self._task is not None:
                self._cancel(self._task, kind or self._kind)
            elif self._active:
                self._raise(kind or self._kind)

    def _raise(self, kind: type[BaseException]) -> None:
        if is_uninterrupted(sys._current_frames().get(self._thread)):
            soon(lambda: self.interrupt(kind))
            return
        self._sent = True
        self._raise_in(self._thread, kind)
        _later(INSIST_SECONDS, lambda: self._insist(kind))

    def _insist(self, kind: type[BaseException]) -> None:
        """Raise it again where it was lost: Python only prints what is raised in a callback, for example."""
        with self._lock:
            if not self._active or self._task is not None:
                return
            if _is_handled(kind, self._thread):
                _later(INSIST_SECONDS, lambda: self._insist(kind))
            else:
                self._raise(kind)

    def _cancel(self, task: "asyncio.Task[Any]", kind: type[BaseException]) -> None:
        """Cancel a coroutine, and raise the exception where it does not wait for anything."""
        self._cancelled = kind
        task.get_loop().call_soon_threadsafe(task.cancel)

        def insist() -> None:
            with self._lock:
                if self._active and self._task is task:
                    self._raise(kind)

        _later(_CANCEL_SECONDS, insist)

    def run(self, run: Callable[[Coroutine[Any, Any, T]], T], work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine by `run`, so that it can be cancelled.

        Raises:
            BaseException: Of the kind that it was interrupted by.
        """
        import asyncio

        async def stoppable() -> T:
            self._task = asyncio.current_task()
            try:
                return await work
            finally:
                with self._lock:
                    self._task = None

        try:
            return run(stoppable())
        except asyncio.CancelledError:
            if self._cancelled is None:
                raise
            raise self._cancelled() from None

    def close(self) -> None:
        """Make sure that nothing is raised any more; runs in the thread of the body."""
        with self._lock:
            self._active = False
            sent, self._sent = self._sent, False
        if self in _around.threads:
            _around.threads.remove(self)
        if sent:
            self._take_back()


def run_interruptibly(run: Callable[[Coroutine[Any, Any, T]], T], work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine by `run`; what interrupts code in this thread cancels it."""
    threads = _around.threads
    return threads[-1].run(run, work) if threads else run(work)


class _Around(threading.local):
    """What is around the code that a thread executes."""

    def __init__(self) -> None:
        self.threads: list[ThreadInterrupter] = []
        self.signals: list[SignalInterrupter] = []


_around = _Around()


class SignalInterrupter:
    """Raises an exception in the main thread, by a signal that also ends blocking calls."""

    def __init__(self, kind: type[BaseException], number: int) -> None:
        """Prepare to raise `kind`; other causes of the signal keep their handler."""
        self._kind = kind
        self._number = number
        self._previous: Any = signal.signal(number, self._handle)
        self._lock = threading.Lock()
        self._active = True
        self._sent = 0
        self._received = 0
        self._raised = False
        _around.signals.append(self)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if is_uninterrupted(frame):
            again = self._received < self._sent
            self._received += again
            soon(self.interrupt if again else lambda: send(number))
        elif self._received < self._sent:
            self._received += 1
            if self._active and not self._raised:
                raise self._kind
        elif callable(self._previous):
            self._previous(number, frame)

    def interrupt(self) -> None:
        """Raise it, unless the body has ended. From any thread."""
        with self._lock:
            if self._active:
                self._sent += 1
                send(self._number)
                _later(INSIST_SECONDS, self._insist)

    def _insist(self) -> None:
        if not self._active:
            return
        if _is_handled(self._kind, threading.main_thread().ident):
            _later(INSIST_SECONDS, self._insist)
        else:
            self.interrupt()

    def raise_missed(self) -> None:
        """Raise what was sent and has not arrived."""
        if self._active and not self._raised and self._received < self._sent:
            self._raised = True
            raise self._kind

    def close(self) -> None:
        """Make sure that nothing is raised any more; runs in the main thread."""
        with self._lock:
            self._active = False
        if self in _around.signals:
            _around.signals.remove(self)
        deadline = time.monotonic() + _LATE_SECONDS
        while self._received < self._sent and time.monotonic() < deadline:
            time.sleep(0)
        signal.signal(self._number, self._previous)


def interrupter() -> ThreadInterrupter | SignalInterrupter:
    """Return what can stop a body that runs in this thread."""
    if in_main_thread() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        return SignalInterrupter(FlowCancelled, signal.SIGINT)
    return ThreadInterrupter(FlowCancelled)


def is_for_a_flow_around(error: BaseException) -> bool:
    """Say whether an exception that ended a task or flow was raised in its thread for a flow around it.

    Whoever takes it for the end of the inner run has to let it go on outward, or the flow would go on
    after its time, or after its cancellation.
    """
    return isinstance(error, (FlowCancelled, FlowTimedOut, TerminationSignal))


def raise_missed() -> None:
    """Raise what was sent to a flow around this code, and was lost.

    To be called when an inner run has ended in this thread. A `ThreadInterrupter` that ended it may have hit
    the signal's handler, which then did nothing.
    """
    for one in _around.signals:
        one.raise_missed()


class TimeLimit:
    """Ends a block of code in this thread by `FlowTimedOut`."""

    def __init__(self, seconds: float | None, name: str) -> None:
        """Allow so many seconds; None for any number. `name` is the flow's, for the message."""
        self._seconds = seconds
        self._name = name
        self._undo: Callable[[], None] | None = None
        self.expired = False

    @property
    def message(self) -> str:
        """What people read when time was up: the flow, and how long it had."""
        return f"Flow run of '{self._name}' exceeded timeout of {self._seconds or 0:g} second(s)"

    def error(self) -> FlowRunTimeoutError:
        """Return what says that time was up."""
        return FlowRunTimeoutError(self.message)

    def __enter__(self) -> Self:
        if self._seconds is not None:
            self._undo = self._by_signal() if in_main_thread() else self._by_thread()
        return self

    def __exit__(self, *_: object) -> None:
        if self._undo is not None:
            self._undo()

    def _by_signal(self) -> Callable[[], None]:
        """Use the process's one timer; whoever uses it already gets it back, and its signal meanwhile."""
        started, seconds = time.monotonic(), self._seconds or 0
        left, interval = signal.getitimer(signal.ITIMER_REAL)

        def expire(number: int, frame: FrameType | None) -> None:
            elapsed = time.monotonic() - started
            if elapsed >= seconds and is_uninterrupted(frame):
                signal.setitimer(signal.ITIMER_REAL, SOON_SECONDS)
                return
            if elapsed >= seconds:
                signal.setitimer(signal.ITIMER_REAL, INSIST_SECONDS)  # it may be lost, see `_insist`
                if self.expired and _is_handled(FlowTimedOut, threading.get_ident()):
                    return
                self.expired = True
                raise FlowTimedOut(self.message)
            signal.setitimer(signal.ITIMER_REAL, seconds - elapsed)
            if callable(previous):
                previous(number, frame)

        previous = signal.signal(signal.SIGALRM, expire)
        signal.setitimer(signal.ITIMER_REAL, min(seconds, left) if left else seconds)

        def undo() -> None:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)
            if left:
                rest = max(left - (time.monotonic() - started), _SOON)
                signal.setitimer(signal.ITIMER_REAL, rest, interval)

        return undo

    def _by_thread(self) -> Callable[[], None]:
        target = ThreadInterrupter(FlowTimedOut)

        def expire() -> None:
            self.expired = True
            target.interrupt()

        timer = _later(self._seconds or 0, expire)

        def undo() -> None:
            timer.cancel()
            target.close()

        return undo


class LoopInterrupter:
    """Cancels the asyncio task in which the body of an asynchronous flow runs."""

    def __init__(self) -> None:
        """Prepare to cancel the current task."""
        import asyncio

        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        self._task: asyncio.Task[Any] = task
        self._active = True
        self._sent = 0

    def interrupt(self) -> None:
        """Cancel it, unless the body has ended. From any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self._active:
            self._sent += 1
            self._task.cancel()

    def was_meant(self) -> bool:
        """Say whether a `CancelledError` is this one's; if so, the task may go on."""
        for _ in range(self._sent):
            self._task.uncancel()
        return self._sent > 0

    def close(self) -> None:
        """Make sure that nothing is cancelled any more."""
        self._active = False


def send(number: int) -> None:
    """Send a signal to the main thread."""
    signal.pthread_kill(threading.main_thread().ident or 0, number)


def _is_handled(kind: type[BaseException], thread: int | None) -> bool:
    """Say whether a thread is on its way outward by an exception: in a ``finally``, for example."""
    found: Any = sys._current_exceptions().get(thread or 0)
    error = found[1] if isinstance(found, tuple) else found  # Python 3.11 has all three parts of it
    while error is not None and not isinstance(error, kind):
        error = error.__context__
    return error is not None


def soon(call: Callable[[], object]) -> None:
    """Call something once code is through that nothing may end in the middle."""
    _later(SOON_SECONDS, call)


def _later(seconds: float, call: Callable[[], object]) -> threading.Timer:
    timer = threading.Timer(seconds, call)
    timer.daemon = True
    timer.start()
    return timer


def in_main_thread() -> bool:
    """Say whether this is the thread that signals come to."""
    return threading.current_thread() is threading.main_thread()
