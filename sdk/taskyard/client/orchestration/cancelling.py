"""Another state for a run: the only one that can be asked for from outside is its end."""

from typing import TYPE_CHECKING, Any

from taskyard._data.runs.recorded import from_listed_run
from taskyard._data.runs.tracking import tracked_flow_run
from taskyard.client.schemas.responses import (
    OrchestrationResult,
    SetStateStatus,
    StateAbortDetails,
    StateAcceptDetails,
)
from taskyard.exceptions import NotSupported
from taskyard_contract.states import FIRST_FINAL, RunKind, StateType

if TYPE_CHECKING:
    from uuid import UUID

    from taskyard.client.reading.connection import Connection
    from taskyard.states import State
    from taskyard_api.v1.run_service_pb2 import Run

_WHO = "taskyard.client"
_USUAL = {StateType.CANCELLING: "Cancelling", StateType.CANCELLED: "Cancelled"}


def cancelled(
    connection: "Connection", run_id: "UUID", kind: RunKind, state: "State[Any]"
) -> OrchestrationResult[Any]:
    """Request the end of a run, and say what became of that.

    Raises:
        RunNotFound: There is no such run of that kind.
        NotSupported: Another state is asked for.
    """
    check_state(state, kind)
    before = connection.run(run_id, kind)
    if before.state < FIRST_FINAL:
        asked = tracked_flow_run(run_id.bytes) or run_id.bytes
        connection.calls().cancel_run(asked, reason=state.message or "", requested_by=_WHO)
    after = connection.run(run_id, kind)
    now = from_listed_run(after, connection.decode, lambda: connection.read_again(after))
    if now.type in _USUAL and before.state < FIRST_FINAL:
        return OrchestrationResult(state=now, status=SetStateStatus.ACCEPT, details=StateAcceptDetails())
    return _too_late(after, now)


def check_state(state: "State[Any]", kind: RunKind) -> None:
    """Refuse states that nothing but the execution of a run can bring it into.

    Raises:
        NotSupported: It is one of these.
    """
    word = "flow" if kind is RunKind.FLOW else "task"
    usual = _USUAL.get(state.type)
    if usual is None:
        raise NotSupported(
            f"the state of a {word} run cannot be set to {state.name}: a run comes into its states by being "
            "executed; from outside only Cancelling() and Cancelled() can be set, which request its end"
        )
    if state.name != usual:
        raise NotSupported(
            f"the state of a {word} run cannot be set to one named '{state.name}': a requested end is named "
            "Cancelling and Cancelled; say why in its message"
        )


def _too_late(run: "Run", now: "State[Any]") -> OrchestrationResult[Any]:
    reason = f"run '{run.name}' has ended already: {now.name}"
    return OrchestrationResult(
        state=now, status=SetStateStatus.ABORT, details=StateAbortDetails(reason=reason)
    )
