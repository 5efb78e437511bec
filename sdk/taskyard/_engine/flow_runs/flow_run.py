"""One flow run: its record at the control plane, its context, its attempts and how it ends.

Invariant: what a caller is told (value, exception, state) is what the control plane decided; a report that
it did not take as meant, because the run had been cancelled meanwhile, changes the answer.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from taskyard._data.runs.names import new_flow_run_name
from taskyard._data.runs.records import FlowRun
from taskyard._data.runs.state import State, StateDetails
from taskyard._data.values.failures import interruption_of, message_of
from taskyard._data.values.folding import raises_of_runs
from taskyard._data.values.headers import merged
from taskyard._data.values.known_results import KnownResults
from taskyard._engine.definitions.flow_definition import FlowDefinition
from taskyard._engine.definitions.run_names import render_run_name
from taskyard._engine.execution.hooks import run_hooks
from taskyard._engine.flow_runs.again import Again, first_attempt, next_attempt
from taskyard._engine.flow_runs.final_state import final_state_of
from taskyard._engine.flow_runs.flow_reports import (
    end_report,
    flow_payload,
    inherited_inside,
    is_value,
    parameters_for_record,
    pickled_value,
    report_of,
    state_read_again,
    written_value,
)
from taskyard._engine.flow_runs.submitting import submit_flow
from taskyard._engine.flow_runs.task_runner import TaskRunner
from taskyard._engine.flow_runs.task_runners import runner_of
from taskyard._engine.progress import is_wanted, showing
from taskyard._engine.submission.ports import Service
from taskyard._engine.submission.scope import Scope, current_scope, outside_scope
from taskyard._engine.world.announcing import look_at_modules
from taskyard._network.session.run_groups import Upstream
from taskyard._network.session.session import Session
from taskyard.context import FlowRunContext, current_headers, current_tags
from taskyard.exceptions import CancelledRun, FlowCancelled, NotSerializable, ResultStorageError
from taskyard.logging import captured_prints, get_logger, get_run_logger, show_as_from_here
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.failures import text_of, type_name
from taskyard_contract.for_people import run_lines
from taskyard_contract.id_factory import new_id
from taskyard_contract.languages.encoding_names import PICKLE
from taskyard_contract.states import FlowEvent, RunKind, RunState, StateReason, StateType, UpstreamKind

if TYPE_CHECKING:
    from taskyard._engine.results.plans import ResultPlan

INTERRUPTED_SECONDS: Final = 2.0
"""How long an interrupted process waits for the control plane to note that."""


class FlowRunRecord:
    """One flow run, from its submission to its final state."""

    def __init__(
        self,
        flow: FlowDefinition[..., Any],
        parameters: dict[str, Any],
        stack: ExitStack,
        again: Again | None = None,
        upstream: Upstream | None = None,
    ) -> None:
        """Submit the flow run, or take over one that is executed again.

        Args:
            flow: The flow.
            parameters: What it is called with.
            stack: Ends what it starts (its task runner).
            again: The run that is taken over.
            upstream: The runs that it depends on; they have ended.

        Raises:
            ConnectionFailed: There is no control plane to record it.
            RunNotResumable: The run that is to be taken over is somebody else's.
        """
        self._outer = current_scope()
        caller = self._outer or outside_scope()
        runner = runner_of(flow.task_runner, caller)
        if caller.inherited is not None:
            flow = flow.inheriting(caller.inherited)
        self.flow = flow
        self.parameters = parameters
        self.run_id = new_id() if again is None else again.run_id
        self._again = again
        self.attempt_number = 1
        self.cancel_requested = False
        self._process = os.getpid()
        self.state: State[Any] = State(StateType.PENDING)
        self._error: BaseException | None = None
        self._refused = False
        self._done_before = 0
        self._written: bytes | None = None
        """The value of the latest attempt, where an encoding was asked for."""
        self._stored: Any = None
        """What refers to the value of the latest attempt, where that is in storage."""
        self._settings = flow.settings
        self.session: Session = caller.session
        self.name = self._make_name() if again is None else again.name
        self._shows_progress = is_wanted(self.session)
        service = stack.enter_context(runner.serving(self.session))
        self.scope = self._make_scope(caller, runner, service)
        self.scope.known = KnownResults()
        stack.enter_context(runner.started(self.scope))
        self.context = self._make_context()
        if again is None:
            self._submit(caller, upstream or {})
            first_attempt(self.scope, flow.settings.retries)
        else:
            self.attempt_number = again.take_over(self.session, stack)
        if self.scope.speaks:
            get_logger("engine").debug("%s", run_lines.created(self.name, flow.name, RunKind.FLOW))

    def _make_scope(self, caller: Scope, runner: TaskRunner, service: Service) -> Scope:
        flow = self.flow
        own = flow.settings.log_prints
        return Scope(
            self.session,
            self.run_id,
            log_prints=caller.log_prints if own is None else own,
            queue=service.queue,
            executor=service.executor,
            host=caller.host,
            keep_futures=flow.settings.all_decide,
            task_runner=runner,
            code=caller.code if flow.settings.code is None else flow.settings.code,
            headers=merged(caller.headers, current_headers()),
            inherited=inherited_inside(flow, caller.inherited),
            call_gives_future=flow.settings.call_gives_future,
        )

    def _make_name(self) -> str:
        template = self._settings.flow_run_name
        if template is None:
            return new_flow_run_name()
        return render_run_name(template, self.parameters, f"flow '{self.flow.name}'", "flow_run_name")

    def _make_context(self) -> FlowRunContext:
        run = FlowRun(
            self.run_id,
            self.name,
            flow_name=self.flow.name,
            flow_version=self.flow.version,
            parameters=self.parameters,
            parent_run_id=self._outer.own_run_id if self._outer is not None else b"",
            tags=sorted(current_tags()),
            run_count=self.attempt_number,
        )
        context = FlowRunContext(
            self.flow,
            run,
            self.parameters,
            log_prints=self.scope.log_prints,
            log_sink=self.session.log,
            host=self.scope.host,
            scope=self.scope,
            task_runner=self.scope.task_runner,
            headers=self.scope.headers,
        )
        context.keep_rollbacks = self._keep_rollbacks
        return context

    def _keep_rollbacks(self, outermost: Any) -> Any:
        """Return what keeps the hooks of a transaction; None where the server cannot."""
        from taskyard._engine.rollbacks.registered import keeping  # few flows have any

        return keeping(outermost, self.scope, self.name or self.flow.name)

    def _submit(self, caller: Scope, upstream: Upstream) -> None:
        record = parameters_for_record(self.parameters, self.session)
        submit_flow(self.flow, caller, self.run_id, self.name, record, upstream, self.scope.headers)

    @contextmanager
    def attempt(self, stop: Callable[[], None]) -> Iterator[None]:
        """Enter the run's context for one attempt; `stop` ends the body when somebody cancels the run."""
        self._refused = False
        self.context = self._make_context()
        self.session.on_cancel(self.run_id, lambda: self._cancel(stop))
        try:
            prints = captured_prints() if self.scope.log_prints else nullcontext()
            line = showing(self.name, self.scope, self.session) if self._shows_progress else nullcontext()
            with line, prints, self.context:
                yield
        finally:
            self.session.on_cancel(self.run_id, None)

    def recall(self) -> None:
        """Find out what attempts before this one have done; blocks for as long as the control plane takes."""
        if self.attempt_number > 1:
            changed_code = self._again.changed_code if self._again is not None else "reuse"
            self._done_before = next_attempt(self.scope, changed_code)

    def begin(self) -> None:
        """Report that an attempt starts; calls hooks, which may be interrupted like the body."""
        look_at_modules()
        show_as_from_here()
        self.session.report_start(report_of(self.run_id, self.attempt_number, FlowEvent.STARTED))
        again, details = self.attempt_number > 1, StateDetails(flow_run_id=UUID(bytes=self.run_id))
        self.state = State(StateType.RUNNING, name="Retrying" if again else None, state_details=details)
        verb = "Retrying" if again else "Beginning"
        kept = f"; runs inside it that have completed: {self._done_before:,}" if self._done_before else ""
        self._logger().info("%s flow run %r for flow %r%s", verb, self.name, self.flow.name, kept)
        self._run_hooks(self._settings.on_running)

    def _cancel(self, stop: Callable[[], None]) -> None:
        self.cancel_requested = True
        stop()

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of the body, converted to their declared types.

        Raises:
            ParameterTypeError: One does not have its declared type.
        """
        validator = self.flow.validator
        parameters = self.parameters if validator is None else validator.validate(self.parameters)
        return self.flow.signature.split(parameters)

    def is_copied(self) -> bool:
        """Say whether the body forked, and this is the child: it ends as a child, the run is its parent's."""
        return os.getpid() != self._process

    def ended_in_child(self, value: Any, failure: Exception | None) -> None:
        """Note what the caller gets in a child that the body forked, where nothing is reported."""
        self._error = failure
        self.state = State(StateType.COMPLETED, data=value)

    def ended(self, value: Any) -> None:
        """Note what the body returned."""
        kept = self.scope.kept_futures or ()
        self._error = self._stored = None
        self.state = final_state_of(value, [future.get_state() for future in kept])
        if self.flow.results is not None and self.state.is_completed():
            self._store(self.flow.results)
        if self._settings.wire_result_encoding and self.state.is_completed():
            try:
                self._written = written_value(self.state.data, self._settings.wire_result_encoding)
            except NotSerializable as refusal:
                self.failed(refusal)
                self._refused = True

    def _store(self, results: "ResultPlan") -> None:
        """Write the value into its storage; the caller gets what is read there, as everybody else does."""
        if not is_value(self.state.data):
            return  # its runs are recorded themselves
        try:
            key = results.key("", self.parameters, self.run_id, self.attempt_number)
            self._stored = results.store(self.state.data, key, "")
        except (NotSerializable, ResultStorageError, ValueError) as error:
            self.failed(error)
            self._refused = isinstance(error, NotSerializable)
            return
        keeps = self._settings.cache_result_in_memory
        if not keeps or results.serializer.type != "pickle":
            self.state = state_read_again(self.state, self._stored.value, keeps)

    def failed(self, error: BaseException, timed_out: bool = False, message: str = "") -> None:
        """Note that the body raised, was cancelled, or took too long."""
        self._error = error
        if self.cancel_requested or isinstance(error, FlowCancelled):
            self.cancel_requested = True
            self.state = State(StateType.CANCELLED, message="Flow run was cancelled.")
        elif timed_out:
            self.state = State(StateType.FAILED, name="TimedOut", message=message, data=error)
        else:
            self.state = State(StateType.FAILED, message=message_of(error, "Flow"), data=error)

    def withdraw_inside(self) -> None:
        """End what the body submitted and nobody waits for, as far as it has not started."""
        open_ids = [future.run_id for future in self.scope.open_futures()]
        if open_ids:
            self.session.withdraw(open_ids)

    def yielded(self) -> None:
        """Note that a requested cancellation has arrived: nothing needs to be stopped a second time."""
        self.session.on_cancel(self.run_id, None)
        self.withdraw_inside()

    def interrupted(self, error: BaseException) -> None:
        """Note that the process is being ended, and end what the flow run has started."""
        self._error = error
        self.state = State(StateType.CRASHED, message=interruption_of(error), data=error)
        self.session.cancel([future.run_id for future in self.scope.open_futures()])

    def end_report(self) -> pb.FlowReport:
        """Return the report of the state that the attempt ended in."""
        report = end_report(self.run_id, self.attempt_number, self.state, self.cancel_requested)
        if self._refused:
            report.reason = StateReason.RESULT_REFUSED  # type: ignore[assignment]  # equal enums
        if self.state.is_completed() and self._settings.persist_result is not False:
            self._add_result(report)
        return report

    def _add_result(self, report: pb.FlowReport) -> None:
        encoding = self._settings.wire_result_encoding
        if self._stored is not None:
            data = pickled_value(self._stored)
        else:
            data = self._written if encoding else pickled_value(self.state.data)
        if data is not None:
            payload = flow_payload(data, self.session, encoding or PICKLE)
            if payload is not None:
                report.result.CopyFrom(payload)

    def decide(self, decision: pb.FlowDecision) -> float | None:
        """Take the control plane's decision; returns the delay before the next attempt, or None."""
        state = int(decision.state)
        if state == RunState.AWAITING_RETRY:
            delay = decision.retry_after_ms / 1000
            self._tell(run_lines.RETRY_LEVEL, self._retry_text(delay))
            self.attempt_number = decision.attempt or self.attempt_number + 1
            return delay
        if state != _RECORDED.get(self.state.type):
            self._overruled(state)
        if self.state.is_cancelled() and decision.message not in ("", self.state.message):
            self.state = State(StateType.CANCELLED, message=decision.message)
        self.state = self.state.of_flow_run(UUID(bytes=self.run_id))
        if self._outer is not None and self._outer.kept_futures is not None:
            self._outer.kept_futures.append(self)
        self._run_hooks(self._final_hooks())
        level = run_lines.level_of(_RECORDED.get(self.state.type, RunState.FAILED))
        attempts = self._settings.retries + 1
        said = run_lines.finished_in(self.state)
        which = run_lines.which_attempt(_RECORDED.get(self.state.type, 0), self.attempt_number, attempts)
        self._tell(level, f"{said}{which}")
        return None

    def get_state(self) -> State[Any]:
        """Return the state that it is in, or has ended in."""
        return self.state

    def _retry_text(self, delay: float) -> str:
        state, error = self.state, self._error
        reason = StateReason.TIMED_OUT if state.name == "TimedOut" else StateReason.NONE
        kind, text = (type_name(error), text_of(error)) if error is not None else ("", "")
        why = run_lines.why_failed(kind, text, state.message or "", reason)
        return run_lines.failed_attempt(self.attempt_number, self._settings.retries + 1, why, delay)

    def _tell(self, level: int, text: str) -> None:
        """Show what the control plane has recorded in the run's log itself, together with the state."""
        get_run_logger(self.context, recorded=True).log(level, "%s", text)

    def _overruled(self, state: int) -> None:
        """Adopt a state that somebody else decided: a cancellation that was faster, a lost session."""
        if state == RunState.CANCELLED:
            self._error = None
            self.state = State(StateType.CANCELLED, message="Flow run was cancelled.")
        elif state == RunState.CRASHED:
            self._error = None
            text = "The control plane gave the flow run up: its session had been out of contact for too long."
            self.state = State(StateType.CRASHED, message=text)

    def _final_hooks(self) -> tuple[Callable[..., Any], ...]:
        settings = self._settings
        return {
            StateType.COMPLETED: settings.on_completion,
            StateType.FAILED: settings.on_failure,
            StateType.CANCELLED: settings.on_cancellation,
            StateType.CRASHED: settings.on_crashed,
        }.get(self.state.type, ())

    def _run_hooks(self, hooks: tuple[Callable[..., Any], ...]) -> None:
        run_hooks(hooks, self.flow, self.context, self.state)

    @raises_of_runs
    def result(self, return_state: bool) -> Any:
        """Return, or raise, what the caller of the flow gets."""
        if return_state:
            return self.state
        if isinstance(self._error, FlowCancelled) or (self.state.is_cancelled() and self._error is not None):
            raise CancelledRun(f"flow run '{self.name}' was cancelled") from None
        if self._error is not None:
            raise self._error
        value = self.state.result()
        known = self._outer.known if self._outer is not None else None
        if known is not None:
            known.note(value, self.run_id, UpstreamKind.FLOW_RESULT)
        return value

    def _logger(self) -> Any:
        return get_run_logger(self.context)


_RECORDED: Final = {
    StateType.COMPLETED: RunState.COMPLETED,
    StateType.FAILED: RunState.FAILED,
    StateType.CANCELLED: RunState.CANCELLED,
    StateType.CRASHED: RunState.CRASHED,
}
