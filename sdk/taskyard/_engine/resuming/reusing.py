"""Gives calls of a body that runs again the runs which they had become before, where these have completed.

Theory of operation. A call that is reused keeps its run: its future has the id of that. So a call further
down, which is given the future, is written as before, and is found as well; what is given the future of a run
that is made again is not. Nothing depends on the order of calls.

Where the flow's own process executes runs (threads), arguments do not travel, and the control plane can tell
nothing by them. What such a flow has called is remembered here, for the retries of the same process.

Invariant: each run is given to one call of an attempt.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal

from taskyard._engine.definitions.flow_definition import FlowDefinition
from taskyard._engine.definitions.task_definition import TaskDefinition
from taskyard._engine.futures.future import Future
from taskyard._engine.futures.sets import FutureList
from taskyard._engine.resuming.calls import Earlier, EarlierCalls, Key, fingerprints, keys_of
from taskyard._engine.resuming.digests import WrittenCall, written_call
from taskyard._engine.submission.arguments import add_order
from taskyard._engine.submission.large_values import LargeValues
from taskyard._engine.submission.mapping import Expansion
from taskyard._engine.submission.ports import Arguments
from taskyard._engine.submission.scope import Scope
from taskyard._engine.submission.submitting import future_of, shared_upstream
from taskyard._network.session.run_groups import Upstream

ChangedCode = Literal["reuse", "rerun"]
"""What becomes of results of tasks whose code was changed since."""
CHANGED_CODE: Final = ("reuse", "rerun")
SubmitNew = Callable[[Expansion], FutureList[Any]]


class Reusing:
    """What an attempt of a flow run reuses of the attempts before. Thread-safe."""

    is_plan = False

    def __init__(
        self,
        calls: EarlierCalls,
        changed_code: ChangedCode = "reuse",
        remembered: "Remembered | None" = None,
    ) -> None:
        """Reuse `calls`, or in a process that executes its runs itself those that it has `remembered`."""
        self._calls = calls
        self._unchanged = changed_code == "rerun"
        self.remembered = remembered
        self._fingerprint = fingerprints()
        self._lock = threading.Lock()
        self.reused = 0
        """How many calls were given runs of before."""

    def begin(self, scope: Scope) -> None:
        """Have runs of an attempt numbered after those that there are."""
        scope.go_on_after(self._calls.next_ordinals)

    def look(
        self, task: TaskDefinition[..., Any], scope: Scope, call: Arguments, wait_for: object, is_new: bool
    ) -> tuple[Key | None, Future[Any] | None]:
        """Return the future of the run that a call was before, or what to remember it by if it is new.

        Args:
            task: The task.
            scope: Where it is called.
            call: The arguments.
            wait_for: What else it waits for.
            is_new: Whether no earlier run can stand for it.
        """
        if is_new or task.settings.refresh_cache:
            return None, None
        shared: Upstream = add_order({}, wait_for) if wait_for is not None else {}
        return self._look(task, scope, call, shared, LargeValues(task.name, scope.session))

    def _look(
        self,
        task: TaskDefinition[..., Any],
        scope: Scope,
        call: Arguments,
        shared: Upstream,
        large: LargeValues,
    ) -> tuple[Key | None, Future[Any] | None]:
        written = written_call(task, scope, call, shared, large)
        if written is None:
            return None, None
        key = task.task_key, written.digest
        with self._lock:
            future = self._find(task, scope, written, key)
        if future is not None and scope.kept_futures is not None:
            scope.kept_futures.append(future)
        return key, future

    def _find(
        self, task: TaskDefinition[..., Any], scope: Scope, written: WrittenCall, key: Key
    ) -> Future[Any] | None:
        keys = keys_of(task)
        scope.go_on_after({task.task_key: max(self._calls.next_ordinals.get(one, 0) for one in keys)})
        if self.remembered is not None and (known := self.remembered.take(key)) is not None:
            self.reused += 1
            return known
        found = self._calls.completed_like(
            keys, written.digest, self._fingerprint(task.fn), unchanged=self._unchanged
        )
        return None if found is None else self._again(task, scope, found)

    def _again(self, task: TaskDefinition[..., Any], scope: Scope, found: Earlier) -> Future[Any]:
        future = future_of(task, found.run_id, scope)
        scope.session.watch(future)
        self.reused += 1
        return future

    def note(self, key: Key, future: Future[Any]) -> None:
        """Note the run that a call has become."""
        if self.remembered is not None:
            self.remembered.note(key, future)

    def map(
        self,
        task: TaskDefinition[..., Any],
        scope: Scope,
        expansion: Expansion,
        wait_for: object,
        submit: SubmitNew,
        is_new: bool,
    ) -> FutureList[Any]:
        """Map a task: children that were runs before stay these, and `submit` makes the others."""
        if is_new or task.settings.refresh_cache:
            return submit(expansion)
        shared = shared_upstream(expansion.resolved, wait_for)
        large = LargeValues(task.name, scope.session)
        if scope.executor is None and not task.is_remote:
            large.share(expansion.constants)
        calls = list(expansion.calls)
        looked = [self._look(task, scope, call, shared, large) for call in calls]
        left = [call for call, (_, future) in zip(calls, looked, strict=True) if future is None]
        new: Iterator[Future[Any]] = iter(())
        if left:
            rest = expansion.resolved, expansion.constants, expansion.given
            new = iter(submit(Expansion(len(left), iter(left), *rest)))
        futures: FutureList[Any] = FutureList([])
        for key, future in looked:
            child = future if future is not None else next(new)
            if key is not None and future is None:
                self.note(key, child)
            futures.append(child)
        return futures

    def flow(self, flow: FlowDefinition[..., Any], digest: bytes) -> Earlier | None:
        """Take the run that a call of a nested flow was before; None if it was none."""
        with self._lock:
            keys = keys_of(flow)
            found = self._calls.completed_like(
                keys, digest, self._fingerprint(flow.fn), unchanged=self._unchanged
            )
            return found or self._calls.other_like(keys, digest)

    def executes_flow(self, flow: FlowDefinition[..., Any], found: Earlier | None) -> None:
        """Hear that a nested flow is executed, in the run that was found or in a new one."""

    def outside(self, what: str) -> None:
        """Hear of something that is started beside the flow run: that is done once more."""


class Remembered:
    """What the threads of this process have executed for a flow run, over its attempts."""

    def __init__(self) -> None:
        """Remember nothing yet."""
        self._all: dict[Key, list[Future[Any]]] = {}
        self._left: dict[Key, deque[Future[Any]]] = {}

    def begin(self) -> None:
        """Have all that has completed reused by the next attempt."""
        self._left = {
            key: deque(future for future in futures if future.done() and future.completed())
            for key, futures in self._all.items()
        }

    def take(self, key: Key) -> Future[Any] | None:
        """Return a run of a call that has completed, each once an attempt."""
        left = self._left.get(key)
        return left.popleft() if left else None

    def note(self, key: Key, future: Future[Any]) -> None:
        """Remember what a call has become."""
        self._all.setdefault(key, []).append(future)
