"""An event loop whose time passes only when there is nothing left to do, and processes that share it.

A `Node` is a process of the simulated installation. A context variable names it, and every handle of
asyncio carries the context it was made in, so the loop knows whose callback it is about to run. That makes
three things possible that no real loop has: a node that *crashes* never runs again, not even its `finally`;
one that is *paused* finds everything that came meanwhile in order when it goes on; and a crash can be put
before any chosen callback. Within a node asyncio's order is kept. What happens outside of all nodes (the
network, the machine, whoever makes faults) runs under no node.

`BaseEventLoop._ready`, `_scheduled`, `_run_once` and `Handle._context` are private to asyncio; a test holds
what is relied on.
"""

import asyncio
import contextvars
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, Final

SPIN: Final = 5_000
"""Callbacks in one moment beyond which something goes round without waiting for anything."""
SPIN_SECONDS: Final = 0.25
"""What passes then, so that a play goes on."""
START_SECONDS: Final = 1_000.0
"""Not 0, which means "nothing" on progress boards."""
EPOCH_US: Final = 1_700_000_000_000_000
"""The wall clock when the monotonic one shows 0."""

current: "contextvars.ContextVar[Node | None]" = contextvars.ContextVar("node", default=None)


class NodeKilled(BaseException):
    """Unwinds the callback in which a node was killed; nothing of the node runs after it."""


class Node:
    """A process: what it is at, and whether it still is."""

    def __init__(self, loop: "SimulatedLoop", name: str, seed: str) -> None:
        self.loop = loop
        self.name = name
        self.random = Random(f"{seed}/{name}")
        self.alive = True
        self.paused = False
        self.crash_at = -1
        """How many more callbacks it runs before it crashes; negative for all of them."""
        self.on_crash: Callable[[], None] = lambda: None
        self.thread_free_at = 0.0
        self._parked: deque[asyncio.Handle] = deque()
        self.context = contextvars.copy_context()
        self.context.run(current.set, self)

    def run(self, callback: Callable[..., object], *args: Any) -> None:
        """Have something done by this process as soon as it gets to it."""
        self.loop.call_soon(callback, *args, context=self.context)

    def spawn(self, work: Coroutine[Any, Any, object]) -> None:
        """Start a task in this process."""

        async def guarded() -> None:
            try:
                await work
            except Exception as error:
                self.loop.on_error(self, error)

        self.run(lambda: asyncio.ensure_future(guarded()))

    def park(self, handle: asyncio.Handle) -> None:
        self._parked.append(handle)

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False
        self.loop.go_on_with(self._parked)
        self._parked = deque()

    def kill(self) -> None:
        """End it as a kill does: nothing of it runs any more. Does nothing the second time."""
        if self.alive:
            self.alive, self.paused = False, False
            self.on_crash()


class SimulatedLoop(asyncio.BaseEventLoop):
    """Runs what is ready; when nothing is, jumps to the next timer."""

    def __init__(self) -> None:
        super().__init__()
        self._now = START_SECONDS
        self._moment = 0
        self.callbacks = 0
        self.tasks: list[asyncio.Task[Any]] = []
        self._dead: list[asyncio.Handle] = []
        """Of killed nodes. Kept, because what is collected runs its `finally` in somebody else's turn."""
        self.on_spin: Callable[[Node | None], None] = lambda node: None
        self.on_error: Callable[[Node | None, BaseException], None] = lambda node, error: None
        self.set_task_factory(self._make_task)
        self.set_exception_handler(self._heard)
        self.outside = contextvars.Context()

    def time(self) -> float:
        return self._now

    def now_ns(self) -> int:
        return round(self._now * 1e9)

    def wall_ns(self) -> int:
        return self.now_ns() + EPOCH_US * 1000

    def later(self, seconds: float, callback: Callable[..., object], *args: Any) -> asyncio.TimerHandle:
        """Have something happen outside of all nodes."""
        return self.call_at(self._now + seconds, callback, *args, context=self.outside)

    def go_on_with(self, handles: "deque[asyncio.Handle]") -> None:
        self._ready.extend(handles)  # type: ignore[attr-defined]

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> "asyncio.Future[Any]":  # type: ignore[override]
        """Do it as a thread would: after a while, and what came of it is known after another while."""
        node = current.get()
        future = self.create_future()
        if node is None:
            future.set_result(func(*args))
            return future
        begins = max(self._now + node.random.uniform(0.0001, 0.002), node.thread_free_at + 1e-6)
        node.thread_free_at = begins
        self.call_at(begins, self._work, node, future, func, args)
        return future

    def _work(self, node: Node, future: "asyncio.Future[Any]", func: Callable[..., Any], args: Any) -> None:
        error: Exception | None = None
        result = None
        try:
            result = func(*args)
        except Exception as raised:
            error = raised

        def answer() -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)

        self.call_later(node.random.uniform(0.0001, 0.002), answer)

    def add_reader(self, fd: Any, callback: Callable[..., object], *args: Any) -> None:
        fd.set_reader(lambda: callback(*args))

    def remove_reader(self, fd: Any) -> bool:
        fd.set_reader(None)
        return True

    def add_writer(self, fd: Any, callback: Callable[..., object], *args: Any) -> None:
        raise NotImplementedError("simulated sockets take everything at once")

    def remove_writer(self, fd: Any) -> bool:
        return False

    def _write_to_self(self) -> None:
        """Nothing waits in a system call that would have to be woken."""

    def _make_task(
        self, loop: Any, coro: Any, context: contextvars.Context | None = None
    ) -> "asyncio.Task[Any]":
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, context=context)
        self.tasks.append(task)
        return task

    def _heard(self, loop: Any, context: dict[str, Any]) -> None:
        error = context.get("exception") or RuntimeError(context["message"])
        self.on_error(current.get(), error)

    def forget(self) -> None:
        """Let go of everything that could still run."""
        self.on_spin, self.on_error = lambda node: None, lambda node, error: None
        self.set_exception_handler(lambda *_: None)
        self.set_task_factory(None)
        for each in (self._ready, self._scheduled, self._dead, self.tasks):  # type: ignore[attr-defined]
            each.clear()

    def _run_once(self) -> None:
        ready: deque[asyncio.Handle] = self._ready  # type: ignore[attr-defined]
        scheduled: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
        if not ready:
            while scheduled and scheduled[0]._cancelled:  # type: ignore[attr-defined]
                heapq.heappop(scheduled)
            if not scheduled:
                self._stopping = True
                return
            if scheduled[0].when() > self._now:
                self._now = scheduled[0].when()
                self._moment = 0
        while scheduled and scheduled[0].when() <= self._now:
            handle = heapq.heappop(scheduled)
            handle._scheduled = False  # type: ignore[attr-defined]
            ready.append(handle)
        for _ in range(len(ready)):
            self._run_one(ready.popleft())

    def _run_one(self, handle: Any) -> None:
        if handle._cancelled:
            return
        node: Node | None = handle._context.get(current)
        if node is not None and not self._may_run(node, handle):
            return
        self.callbacks += 1
        self._moment += 1
        if self._moment > SPIN:
            self.on_spin(node)
            self._moment = 0
            self._now += SPIN_SECONDS
        try:
            handle._context.run(handle._callback, *handle._args)
        except NodeKilled:
            if node is not None:
                node.kill()
        except Exception as error:
            if node is None:
                raise  # a defect of the simulation
            self.on_error(node, error)

    def _may_run(self, node: Node, handle: asyncio.Handle) -> bool:
        if not node.alive:
            self._dead.append(handle)
            return False
        if node.paused:
            node.park(handle)
            return False
        if node.crash_at >= 0:
            if node.crash_at == 0:
                node.kill()
                self._dead.append(handle)
                return False
            node.crash_at -= 1
        return True


class SimulatedClock:
    """Both clocks of all nodes."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop

    def now_us(self) -> int:
        return EPOCH_US + round(self._loop.time() * 1e6)

    def monotonic(self) -> float:
        return self._loop.time()
