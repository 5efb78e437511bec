"""Says what an attempt would reuse and what it would execute, while the body runs and nothing is executed.

Invariant: nothing is submitted from a body that is run for a plan. What asks for a value that only an
execution would give ends the plan there.
"""

from collections import Counter
from typing import Any, Final, NoReturn

from taskyard._data.runs.resume_plan import PlannedCall, PlannedRuns
from taskyard._data.values.shown_parameters import parameter_document
from taskyard._engine.definitions.flow_definition import FlowDefinition
from taskyard._engine.definitions.task_definition import TaskDefinition
from taskyard._engine.futures.future import Future
from taskyard._engine.futures.sets import FutureList
from taskyard._engine.resuming.calls import Earlier, EarlierCalls, has_ended, keys_of
from taskyard._engine.resuming.digests import WrittenCall
from taskyard._engine.resuming.reusing import ChangedCode, Reusing, SubmitNew
from taskyard._engine.submission.mapping import Expansion
from taskyard._engine.submission.ports import Arguments
from taskyard._engine.submission.scope import Scope
from taskyard.context import transaction_here
from taskyard.exceptions import TaskyardError, TaskyardSignal
from taskyard_api.v1 import common_pb2, run_service_pb2
from taskyard_contract.id_factory import new_id
from taskyard_contract.pickling import ENCODING
from taskyard_contract.states import RunState

MOST_COMPARED: Final = 10
"""Calls of a task whose arguments are compared with recorded ones: each is a question to the server."""
NEVER: Final = "it is part of a transaction, or its values are taken one by one"
UNDONE: Final = "its earlier run was part of a transaction"
COMPLETED: Final = "has completed"
CHANGED: Final = "has completed; its code was changed since"
NOT_SHOWN: Final = "arguments differ in what is not shown, such as where the class of one is defined"
_ENDED: Final[dict[int, str]] = {
    RunState.FAILED: "had failed",
    RunState.CRASHED: "had crashed",
    RunState.CANCELLED: "was cancelled",
    RunState.NOT_READY: "had not started: what it waited for did not complete",
}


class PlanEnds(TaskyardSignal):
    """Raised in the body of a flow where it needs what is not known before something is executed.

    Not an `Exception`: bodies that catch everything they know must still end.
    """


class PlannedFuture(Future[Any]):
    """Stands for a run that would be made."""

    __slots__ = ("name",)

    def __init__(self, origin: Scope, name: str) -> None:
        """Stand for a run of the task of this name."""
        super().__init__(new_id(), origin)
        self.name = name

    def _asked(self, *_: object) -> NoReturn:
        raise PlanEnds(
            f"the body asks how a run of '{self.name}' ended, which is not known before it is made"
        )

    done = get_state = when_settled = cancel = add_done_callback = _asked  # type: ignore[assignment]


class Planning(Reusing):
    """Reuses what is there, and only notes what would be executed."""

    is_plan = True

    def __init__(self, calls: EarlierCalls, changed_code: ChangedCode) -> None:
        """Plan for an attempt that finds `calls`."""
        super().__init__(calls, changed_code)
        self.planned: list[PlannedCall] = []
        self._new: set[bytes] = set()
        self._verdicts: list[tuple[bool, str]] = []
        self._compared: Counter[str] = Counter()

    def look(
        self, task: TaskDefinition[..., Any], scope: Scope, call: Arguments, wait_for: object, is_new: bool
    ) -> tuple[None, Future[Any]]:
        """Return the future of the run that a call was, or one that stands for the run it would be."""
        why = self._never(task, is_new)
        _, future = (None, None) if why else super().look(task, scope, call, wait_for, is_new)
        if future is None:
            future = self._made(task, scope, why or "its arguments cannot be pickled")
        self._end_call(task.name)
        return None, future

    def map(
        self,
        task: TaskDefinition[..., Any],
        scope: Scope,
        expansion: Expansion,
        wait_for: object,
        submit: SubmitNew,
        is_new: bool,
    ) -> FutureList[Any]:
        """Do so for each child of a map."""
        why = self._never(task, is_new)

        def stand_in(new: Expansion) -> FutureList[Any]:
            reason = why or "its arguments cannot be pickled"
            return FutureList([self._made(task, scope, reason) for _ in range(new.count)])

        futures = (
            stand_in(expansion) if why else super().map(task, scope, expansion, wait_for, stand_in, False)
        )
        self._end_call(task.name)
        return futures

    def _never(self, task: TaskDefinition[..., Any], is_new: bool) -> str:
        return (NEVER if is_new else "") or ("refresh_cache is set" if task.settings.refresh_cache else "")

    def _find(
        self, task: TaskDefinition[..., Any], scope: Scope, written: WrittenCall, key: Any
    ) -> Future[Any] | None:
        found = super()._find(task, scope, written, key)
        return found if found is not None else self._made(task, scope, self._why(task, scope, written))

    def _again(self, task: TaskDefinition[..., Any], scope: Scope, found: Earlier) -> Future[Any]:
        was_changed = found.was_changed(self._fingerprint(task.fn))
        self._verdicts.append((True, CHANGED if was_changed else COMPLETED))
        return super()._again(task, scope, found)

    def _made(self, task: TaskDefinition[..., Any], scope: Scope, why: str) -> Future[Any]:
        self._verdicts.append((False, why))
        future = PlannedFuture(scope, task.name)
        self._new.add(future.run_id)
        return future

    def _end_call(self, name: str) -> None:
        """Note a call, with what was said of its runs."""
        counts = Counter(self._verdicts)
        self._verdicts.clear()
        runs = tuple(PlannedRuns(count, reused, why) for (reused, why), count in counts.items())
        self.planned.append(PlannedCall(name, runs))

    def _why(self, task: TaskDefinition[..., Any], scope: Scope, written: WrittenCall) -> str:
        """Say why a call is executed."""
        keys = keys_of(task)
        if not self._new.isdisjoint(written.upstream):
            return "takes results of runs that are executed"
        like = self._calls.other_like(keys, written.digest)
        if like is not None:
            return self._what_became_of(like)
        other = self._calls.unlike(keys)
        if other is None:
            gone = self._calls.has_lost_some(keys)
            return "its earlier run is not recorded any more" if gone else "no earlier run"
        if other.in_threads:
            return "no earlier run that can be compared: threads of a program record no arguments"
        return self._difference(task, scope, written, other)

    def _what_became_of(self, like: Earlier) -> str:
        if like.state == RunState.COMPLETED:
            return UNDONE if like.template.in_transaction else "its code was changed"
        return _ENDED.get(like.state, "had ended otherwise" if has_ended(like) else "had not ended")

    def _difference(
        self, task: TaskDefinition[..., Any], scope: Scope, written: WrittenCall, other: Earlier
    ) -> str:
        self._compared[task.task_key] += 1
        if self._compared[task.task_key] > MOST_COMPARED:
            return "arguments differ"
        try:
            before = parameter_document(scope.session.client().get_run(other.run_id, full=True))
        except TaskyardError:
            return "arguments differ"
        args = common_pb2.Payload(encoding=other.template.encoding or ENCODING, data=written.data)
        now = parameter_document(run_service_pb2.Run(args=args))
        if before is None or now is None:
            return "arguments differ"
        names = list(task.signature.signature.parameters)
        differing = [
            names[int(name)] if name.isdigit() and int(name) < len(names) else name
            for name in dict.fromkeys([*before, *now])
            if name not in before or name not in now or before[name] != now[name]
        ]
        return f"arguments differ: {', '.join(differing)}" if differing else NOT_SHOWN

    def reuses_flow(self, flow: FlowDefinition[..., Any], found: Earlier) -> None:
        """Note a nested flow whose value is reused."""
        was_changed = found.was_changed(self._fingerprint(flow.fn))
        self._verdicts.append((True, CHANGED if was_changed else COMPLETED))
        self._end_call(flow.name)

    def executes_flow(self, flow: FlowDefinition[..., Any], found: Earlier | None) -> None:
        """End the plan at a nested flow that would be executed.

        Raises:
            PlanEnds: Always.
        """
        if found is None:
            why = "no earlier run with these parameters"
        elif transaction_here() is not None or found.template.in_transaction:
            why = NEVER
        elif self._is_of_this_code(flow, found):
            why = "its value is not recorded"
        else:
            why = self._what_became_of(found)
        self._verdicts.append((False, why))
        self._end_call(flow.name)
        raise PlanEnds(f"the body calls the flow '{flow.name}', which would be executed")

    def _is_of_this_code(self, flow: FlowDefinition[..., Any], found: Earlier) -> bool:
        return found.state == RunState.COMPLETED and not (
            self._unchanged and found.was_changed(self._fingerprint(flow.fn))
        )

    def outside(self, what: str) -> None:
        """End the plan where something would be started beside the flow run.

        Raises:
            PlanEnds: Always.
        """
        raise PlanEnds(
            f"the body submits {what}, which is no part of the flow run and is submitted once more"
        )
