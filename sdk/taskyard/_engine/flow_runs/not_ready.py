"""Flow runs that never start, because something they need did not complete: recorded, and told to callers."""

from typing import Any
from uuid import UUID

from taskyard._data.runs.names import new_flow_run_name
from taskyard._data.runs.state import State, StateDetails
from taskyard._data.values.headers import merged
from taskyard._engine.definitions.flow_definition import FlowDefinition
from taskyard._engine.flow_runs.flow_reports import report_of
from taskyard._engine.flow_runs.submitting import submit_flow
from taskyard._engine.submission.scope import current_scope, outside_scope
from taskyard._network.session.decisions import Decision
from taskyard._network.session.run_groups import Upstream
from taskyard.context import current_headers
from taskyard.exceptions import UpstreamTaskError
from taskyard.logging import get_logger
from taskyard_contract.capabilities import RECORDED_EDGES
from taskyard_contract.id_factory import new_id
from taskyard_contract.states import FlowEvent, StateReason, StateType


class NeverStarted:
    """A flow run whose body is never executed."""

    def __init__(self, flow: FlowDefinition[..., Any], upstream: Upstream, why: UpstreamTaskError) -> None:
        """Record it; its name is a made-up one, because the parameters are not known.

        Args:
            flow: The flow that was called.
            upstream: What the call depends on.
            why: What went wrong there.
        """
        self._why = why
        self._run_id = b""
        self.decision: Decision | None = None
        """The answer of the control plane; None where it keeps no such records."""
        caller = current_scope() or outside_scope()
        if caller.kept_futures is not None:
            caller.kept_futures.append(self)
        session = caller.session
        if RECORDED_EDGES not in session.capabilities:
            return
        name, self._run_id = new_flow_run_name(), new_id()
        headers = merged(caller.headers, current_headers())
        submit_flow(flow, caller, self._run_id, name, b"", upstream, headers)
        report = report_of(self._run_id, 1, FlowEvent.FAILED, str(why))
        report.reason = StateReason.UPSTREAM  # type: ignore[assignment]  # equal enums
        self.decision = session.report_end(report)
        get_logger("flow_runs").error("Flow run %r for flow %r never starts: %s", name, flow.name, why)

    def result(self, return_state: bool) -> State[Any]:
        """Return, or raise, what the caller of the flow gets.

        Raises:
            UpstreamTaskError: It did not ask for the state.
        """
        if not return_state:
            raise self._why
        return self.get_state()

    def get_state(self) -> State[Any]:
        """Return the state that it stays in."""
        details = StateDetails(flow_run_id=UUID(bytes=self._run_id) if self._run_id else None)
        return State(StateType.PENDING, name="NotReady", message=str(self._why), state_details=details)
