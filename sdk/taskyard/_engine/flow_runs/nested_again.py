"""Calls of nested flows in a body that runs again: the run that there was, or taken up where it ended."""

from typing import Any, NamedTuple

from taskyard._data.runs.recorded import from_run
from taskyard._data.runs.state import State
from taskyard._engine.definitions.flow_definition import FlowDefinition
from taskyard._engine.flow_runs.again import Again
from taskyard._engine.flow_runs.flow_reports import parameters_for_record
from taskyard._engine.resuming.digests import digest_of_parameters
from taskyard._engine.submission.scope import Scope, current_scope
from taskyard.context import transaction_here
from taskyard.exceptions import RunNotFound
from taskyard_contract.encodings import decode_payload
from taskyard_contract.states import FIRST_FINAL, RunState


def found_before(flow: FlowDefinition[..., Any], parameters: dict[str, Any]) -> State[Any] | Again | None:
    """Return what an earlier attempt has made of a call of a nested flow.

    Returns:
        The state of a run that has completed, and whose value is recorded; a run to be executed again,
        because it ended otherwise; or None, and the call becomes a new run.
    """
    around = current_scope()
    if around is None or around.earlier is None:
        return None
    earlier, found, stands = around.earlier, None, False
    written = parameters_for_record(parameters, around.session)
    if written:  # what has no form cannot be compared
        found, stands = earlier.flow(flow, digest_of_parameters(written, around.session))
        stands = stands and transaction_here() is None  # what it has done may be undone
    state = None if found is None else _state_or_run(around, found.run_id, stands)
    if not isinstance(state, State):
        earlier.executes_flow(flow, found)
        return state
    earlier.reuses_flow(flow, found)
    if around.kept_futures is not None:
        around.kept_futures.append(_Reused(state))
    return state


class _Reused(NamedTuple):
    """A nested flow run of before, which decides with all others how the flow ends."""

    state: State[Any]

    def get_state(self) -> State[Any]:
        return self.state


def _state_or_run(around: Scope, run_id: bytes, stands: bool) -> State[Any] | Again | None:
    """Return how a run has ended, if that stands for the call; or the run, to be taken up where it ended."""
    try:
        run = around.session.client().get_run(run_id, include_result=True)
    except RunNotFound:
        return None
    if run.state < FIRST_FINAL or around.earlier is None:
        return None
    completed = int(run.state) == RunState.COMPLETED
    if completed and stands and run.HasField("result"):  # else it returned its runs, or what is not recorded
        return from_run(run, lambda payload: decode_payload(payload, around.fetch))
    return Again(run.run_id, run.name, run.attempt, around.earlier.changed_code, completed)
