"""Futures and states among the arguments of a flow: its body runs in this process, so they are awaited here.

Invariant: the body of a flow never sees a future, or the state of a run, that its caller passed; it sees the
value. Which runs those were is recorded with the flow run.
"""

from typing import Any

from taskyard._data.runs.state import State
from taskyard._engine.futures.future import Future
from taskyard._engine.futures.in_values import futures_in, replaced, value_of
from taskyard._engine.submission.arguments import add_order, check_upstream
from taskyard._engine.submission.scope import current_scope
from taskyard._network.session.run_groups import Upstream
from taskyard.exceptions import UpstreamTaskError
from taskyard_contract.for_people.run_lines import upstream_failed
from taskyard_contract.states import UpstreamKind

Call = tuple[tuple[Any, ...], dict[str, Any]]
_MEANT = (Future, State)


def upstream_of(call: Call, wait_for: object) -> list[Future[Any]]:
    """Return the futures that must have ended before the flow starts."""
    return list(futures_in([call, wait_for])) if wait_for is not None else list(futures_in(call))


def edges_of(name: str, call: Call, wait_for: object) -> Upstream:
    """Return the runs that a call of the flow `name` depends on, or got values from.

    Raises:
        PayloadTooLarge: They are too many for one message.
    """
    upstream: Upstream = {}

    def note(part: Any, kind: int) -> Any:
        run_id = part.run_id if isinstance(part, Future) else _run_of(part)
        if run_id:
            upstream.setdefault(run_id, kind)
        return part

    replaced(call, note, _MEANT)
    if wait_for is not None:
        add_order(upstream, wait_for)
    outer = current_scope()
    if outer is not None and outer.known is not None:
        outer.note_sources(upstream, *call)
    return check_upstream(name, upstream)


def resolved(call: Call, wait_for: object) -> Call:
    """Return the arguments with futures and states replaced by values, once `wait_for` has completed too.

    Raises:
        UpstreamTaskError: A run did not complete.
    """
    if wait_for is not None:
        replaced(wait_for, _value_of, _MEANT)
    args, kwargs = replaced(call, _value_of, _MEANT)
    return args, kwargs


def _value_of(part: Any, kind: int) -> Any:
    return value_of(part, kind) if isinstance(part, Future) else _value_of_state(part, kind)


def _value_of_state(state: State[Any], kind: int) -> Any:
    """Return the value of a state, or its exception where that is admitted.

    Raises:
        UpstreamTaskError: It is no completed one.
    """
    if state.is_completed() or (kind == UpstreamKind.DATA_OR_FAILURE and state.is_failed()):
        return state.result(raise_on_failure=False) if state.has_data else None
    if kind == UpstreamKind.DATA_OR_FAILURE and state.name == "NotReady":
        return None
    details = state.state_details
    run_id = details.task_run_id or details.flow_run_id
    raise UpstreamTaskError(upstream_failed(str(run_id) if run_id else state.name, 0, ""))


def _run_of(state: State[Any]) -> bytes:
    run_id = state.state_details.task_run_id
    return run_id.bytes if run_id is not None else b""
