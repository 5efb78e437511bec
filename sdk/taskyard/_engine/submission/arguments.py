"""Arguments of calls on their way into a submission.

Invariant: what cannot travel is refused here, before a run exists, with the path of the culprit. Futures
inside arguments, at any depth, become upstream edges while the arguments are pickled.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from taskyard._data.runs.state import State, is_state
from taskyard._data.values.awaited import AwaitedRun
from taskyard._engine.futures.future import Future
from taskyard._engine.submission.large_values import LargeValues, check_size, refs_in
from taskyard._engine.submission.large_values import names_in as names_of_stored
from taskyard._engine.submission.ports import Arguments
from taskyard._engine.submission.scope import Scope
from taskyard._engine.submission.unpicklable import not_picklable
from taskyard._network.session.run_groups import MOST_UPSTREAM, Upstream
from taskyard._network.session.session import Session
from taskyard.exceptions import NotPicklable, PayloadTooLarge
from taskyard.utilities.annotations import Annotation, allow_failure
from taskyard_api.v1 import common_pb2
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract import pickling
from taskyard_contract.references import begin_collecting, note, resolve
from taskyard_contract.states import UpstreamKind
from taskyard_contract.values.layout import LaidOut


class Packed(NamedTuple):
    """Arguments of a call, written."""

    data: bytes
    refs: Sequence[common_pb2.BlobRef] = ()
    """Where large values of them are."""


def pack(
    name: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    upstream: Upstream,
    names: set[str] | None = None,
) -> bytes | LaidOut:
    """Pickle the arguments of a call.

    Args:
        name: The task.
        args: Positional arguments.
        kwargs: Keyword arguments.
        upstream: Gets the runs that the call depends on.
        names: Gets the names of the main module that the arguments refer to.

    Returns:
        The encoded arguments, nothing for a call without arguments. What is large has to be stored by itself,
        by `pack_large`; laid out it is always.

    Raises:
        NotPicklable: An argument cannot travel to another process.
    """
    if not args and not kwargs:
        return b""
    if State in map(type, args) or State in map(type, kwargs.values()):
        args, kwargs = _states_changed((args, kwargs), _by_reference)
    outside = begin_collecting(upstream)
    try:
        data = pickling.dumps_apart((args, kwargs))
        if names is not None and type(data) is bytes and pickling.IN_MAIN in data:
            names |= pickling.names_in((args, kwargs))
        return data
    except NotPicklable:
        raise
    except Exception as error:  # pickling runs foreign code, which may raise anything
        raise not_picklable(name, args, kwargs, error) from error
    finally:
        begin_collecting(outside)


def pack_large(
    name: str, call: Arguments, upstream: Upstream, names: set[str] | None, large: LargeValues
) -> Packed:
    """Pickle the arguments of a call, after each large value of them was stored by itself.

    Args:
        name: The task.
        call: The arguments.
        upstream: Gets the runs that the call depends on.
        names: Gets the names of the main module that the arguments refer to.
        large: Stores large values.

    Raises:
        NotPicklable: An argument cannot travel to another process.
        PayloadTooLarge: One is larger than the control plane takes.
        OSError, TaskyardError: It cannot be stored.
    """
    call = large.apart(_states_changed(large.with_shared(call), _by_reference))
    data = pack(name, *call, upstream, names)
    if names is not None:
        names |= names_of_stored(call)
    assert type(data) is bytes  # nothing that has a large buffer is left
    return Packed(data, refs_in(call))


class StateReference:
    """Stands for a state among arguments: the task receives the value of the run that ended in it."""

    __slots__ = ("_run_id",)

    def __init__(self, run_id: bytes) -> None:
        """Stand for the result of a run, whichever state of it was passed."""
        self._run_id = run_id

    def __reduce__(self) -> tuple[Any, ...]:
        """Become a reference, like a future."""
        note(self._run_id)
        return resolve, (self._run_id,)


def _by_reference(state: State[Any]) -> Any:
    """Replace a state by a reference to its run; one made by hand by its own value."""
    run_id = state.state_details.task_run_id
    return StateReference(run_id.bytes) if run_id is not None else state.result()


def states_noted(
    call: Arguments, upstream: Upstream, future_of: Callable[[bytes], Future[Any] | None]
) -> Arguments:
    """Return a call whose arguments stay in this process, after its states were added to `upstream`.

    States of runs that have not ended are replaced by their futures, where `future_of` has them, and states
    made by hand by their values; the others by `states_resolved` when their runs have completed.
    """

    def noted(state: State[Any]) -> Any:
        run_id = state.state_details.task_run_id
        if run_id is None:
            return state.result()
        upstream.setdefault(run_id.bytes, UpstreamKind.DATA)
        future = None if state.is_final() else future_of(run_id.bytes)
        return state if future is None else future

    return _states_changed(call, noted)


def states_resolved(call: Arguments, scope: Scope) -> Arguments:
    """Return a call with the values of runs, all of which have completed, in the places of their states."""

    def value_of(state: State[Any]) -> Any:
        run_id = state.state_details.task_run_id
        if run_id is not None and not state.is_completed():  # it was taken before the run ended
            state = Future[Any](run_id.bytes, scope).get_state()
        return state.result()

    return _states_changed(call, value_of)


def _states_changed(call: Arguments, changed: Callable[[State[Any]], Any]) -> Arguments:
    args, kwargs = call
    if State not in map(type, args) and State not in map(type, kwargs.values()):
        return call
    return (
        tuple(changed(value) if is_state(value) else value for value in args),
        {name: changed(value) if is_state(value) else value for name, value in kwargs.items()},
    )


def offload(
    name: str, data: bytes, refs: Sequence[common_pb2.BlobRef], session: Session
) -> pb.RunExtra | None:
    """Say where arguments are that do not travel as they are; stores them if they are too large for a frame.

    Args:
        name: The task.
        data: The arguments.
        refs: Where large values of them are.
        session: Where they are to be sent.

    Raises:
        PayloadTooLarge: The control plane would not take them.
    """
    too_large = len(data) > session.max_inline_bytes
    if not (too_large or refs):
        return None
    check_size(name, len(data), session)
    blob = session.blobs.put_for_all(data) if too_large else None
    if not refs:
        return pb.RunExtra(args=blob)
    payload = common_pb2.Payload(values=refs)
    if blob is not None:
        payload.blob.CopyFrom(blob)
    else:
        payload.data = data
    return pb.RunExtra(payload=payload)


def check_upstream(name: str, upstream: Upstream) -> Upstream:
    """Return the upstream runs of a call of task `name`, if they are not too many for one message.

    Raises:
        PayloadTooLarge: They are.
    """
    if len(upstream) > MOST_UPSTREAM:
        raise PayloadTooLarge(
            f"a run of '{name}' would depend on {len(upstream):,} runs, and one run can depend on "
            f"{MOST_UPSTREAM:,} at most; combine them in a tree: some hundred in each run, and then their "
            "results",
            limit=MOST_UPSTREAM,
        )
    return upstream


def add_order(upstream: Upstream, wait_for: object) -> Upstream:
    """Add the runs of `wait_for`, a future, a state or any collection of them, as upstream runs."""
    for run_id, kind in _runs_in(wait_for, UpstreamKind.ORDER):
        upstream.setdefault(run_id, kind)
    return upstream


def _runs_in(value: object, kind: int) -> Iterable[tuple[bytes, int]]:
    if isinstance(value, AwaitedRun):
        yield value.run_id, kind
    elif is_state(value):
        run_id = value.state_details.task_run_id
        if run_id is not None:
            yield run_id.bytes, kind
    elif isinstance(value, allow_failure):
        yield from _runs_in(value.value, UpstreamKind.ORDER_OR_FAILURE)
    elif isinstance(value, Annotation):
        yield from _runs_in(value.value, kind)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _runs_in(item, kind)
    elif isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        for item in value:
            yield from _runs_in(item, kind)
