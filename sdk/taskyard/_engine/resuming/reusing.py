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
from taskyard._engine.futures.held import is_plain
from taskyard._engine.futures.sets import FutureList
from taskyard._engine.resuming.calls import (
    Earlier,
    EarlierCalls,
    fingerprints,
    is_named_alike,
    keys_of,
)
from taskyard._engine.resuming.digests import WrittenCall, written_call
from taskyard._engine.submission.arguments import add_order
from taskyard._engine.submission.large_values import LargeValues
from taskyard._engine.submission.mapping import Expansion
from taskyard._engine.submission.ports import Arguments
from taskyard._engine.submission.scope import Scope
from taskyard._engine.submission.submitting import future_of, shared_upstream
from taskyard._network.session.run_groups import Upstream
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.states import RunState

ChangedCode = Literal["reuse", "rerun"]
"""What becomes of results of tasks whose code was changed since."""
CHANGED_CODE: Final = ("reuse", "rerun")
SubmitNew = Callable[[Expansion], FutureList[Any]]
Key = tuple[str, bytes, bytes]
"""Of a task, the digest of a call of it, and its code if only that tells it apart."""


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
        self.changed_code: ChangedCode = changed_code
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
        large = LargeValues(task.name, scope.session, stores=not self.is_plan)
        return self._look(task, scope, call, shared, large)

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
        code = self._fingerprint(task.fn) if is_named_alike(task.fn) else b""
        key = task.task_key, written.digest, code
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
        if self.remembered is not None and not task.is_remote:  # of others the control plane knows them all
            known = self.remembered.take(key)
            if known is not None:
                self.reused += 1
                return self._read_anew(task, scope, known.run_id) if _is_recorded(known) else known
        found = self._completed_like(task, written.digest)
        return None if found is None else self._again(task, scope, found)

    def _completed_like(
        self, what: TaskDefinition[..., Any] | FlowDefinition[..., Any], digest: bytes
    ) -> Earlier | None:
        return self._calls.completed_like(
            keys_of(what),
            digest,
            self._fingerprint(what.fn),
            unchanged=self._unchanged,
            named_alike=is_named_alike(what.fn),
        )

    def _again(self, task: TaskDefinition[..., Any], scope: Scope, found: Earlier) -> Future[Any]:
        self.reused += 1
        return self._read_anew(task, scope, found.run_id)

    def _read_anew(self, task: TaskDefinition[..., Any], scope: Scope, run_id: bytes) -> Future[Any]:
        """Return another future of a run: the value that one attempt was given it may have changed."""
        future = future_of(task, run_id, scope)
        scope.session.watch(future)
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
        large = LargeValues(task.name, scope.session, stores=not self.is_plan)
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

    def flow(self, flow: FlowDefinition[..., Any], digest: bytes) -> tuple[Earlier | None, bool]:
        """Take the run that a call of a nested flow was, and say whether its value stands for the call.

        It does if it has completed, unless its code was changed and that counts.
        """
        with self._lock:
            found = self._completed_like(flow, digest)
            if found is not None:
                return found, True
            found = self._calls.other_like(keys_of(flow), digest)
            return found, found is not None and found.state != RunState.COMPLETED

    def reuses_flow(self, flow: FlowDefinition[..., Any], found: Earlier) -> None:
        """Hear that the value of a nested flow is reused."""

    def executes_flow(self, flow: FlowDefinition[..., Any], found: Earlier | None) -> None:
        """Hear that a nested flow is executed, in the run that was found or in a new one."""

    def outside(self, what: str) -> None:
        """Hear of something that is started beside the flow run: that is done once more."""


def _is_recorded(future: Future[Any]) -> bool:
    """Say whether the control plane has the value of a run that has completed: some stay in this process."""
    outcome = future.outcome
    return is_plain(outcome) or (isinstance(outcome, pb.RunOutcome) and outcome.HasField("result"))


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
