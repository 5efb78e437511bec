"""Futures inside values that stay in this process: found and replaced without pickling.

Invariant: what holds no future is returned as the same object, so that identity survives. Annotations are
taken off on the way, as they are for values that travel.
"""

from collections.abc import Callable
from typing import Any

from taskyard._data.values.containers import with_parts
from taskyard._durable_names import public
from taskyard._engine.futures.future import Future
from taskyard.exceptions import UpstreamTaskError
from taskyard.utilities.annotations import Annotation, allow_failure, opaque, quote
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.for_people.run_lines import upstream_failed, why_failed
from taskyard_contract.states import RunState, UpstreamKind

Replace = Callable[[Any, int], Any]
"""Gets a future, or what else is looked for, and its `UpstreamKind`; returns what takes its place."""


def futures_in(value: Any) -> dict[Future[Any], int]:
    """Return the futures in a value, at any depth, and what each is to the call it is an argument of."""
    found: dict[Future[Any], int] = {}

    def note(future: Future[Any], kind: int) -> Future[Any]:
        if found.get(future) != UpstreamKind.DATA_OR_FAILURE:
            found[future] = kind
        return future

    replaced(value, note)
    return found


def without_futures(value: Any, by: Callable[[Future[Any]], Any]) -> Any:
    """Return a value with each future in it replaced; annotations stay where they are."""
    inside: set[int] = set()

    def changed(part: Any) -> Any:
        if isinstance(part, Future):
            return by(part)
        if isinstance(part, Annotation):
            return part if isinstance(part, quote) and not _is_open(part) else rewrapped(part)
        return with_parts(part, changed, inside)

    def rewrapped(part: Annotation[Any]) -> Any:
        inner = changed(part.value)
        return part if inner is part.value else part.rewrap(inner)

    return changed(value)


def _is_open(value: quote[Any]) -> bool:
    return isinstance(value, opaque) and isinstance(value.value, Future)


@public("taskyard.futures")
def resolve_futures_to_states(expr: Any) -> Any:
    """Return a value with each future in it, at any depth, replaced by the state its run ended in.

    Looks into collections, dataclasses and pydantic models, and waits. What holds no future is returned as
    the same object. Futures inside arguments of tasks need no such call.

    Args:
        expr: The value.
    """
    return without_futures(expr, _state_of)


@public("taskyard.futures")
def resolve_futures_to_results(expr: Any) -> Any:
    """Return a value with each future in it, at any depth, replaced by the value of its run, like
    `resolve_futures_to_states`.

    Args:
        expr: The value.

    Raises:
        UpstreamTaskError: A run did not complete; names it, and its error.
    """
    return without_futures(expr, lambda future: value_of(future, UpstreamKind.DATA))


def _state_of(future: Future[Any]) -> Any:
    future.wait()
    return future.state


def replaced(value: Any, by: Replace, kinds: tuple[type, ...] = (Future,)) -> Any:
    """Return a value with each future in it replaced, or each of other `kinds`; annotations taken off."""
    return _replaced(value, by, UpstreamKind.DATA, set(), kinds)


def _replaced(value: Any, by: Replace, kind: int, inside: set[int], kinds: tuple[type, ...]) -> Any:
    if isinstance(value, kinds):
        return by(value, kind)
    if isinstance(value, Annotation):
        return _unwrapped(value, by, kind, inside, kinds)
    return with_parts(value, lambda part: _replaced(part, by, kind, inside, kinds), inside)


def _unwrapped(
    value: Annotation[Any],
    by: Replace,
    kind: int,
    inside: set[int],
    kinds: tuple[type, ...],
) -> Any:
    inner = value.value
    if isinstance(value, opaque):
        return by(inner, kind) if isinstance(inner, kinds) else inner
    if isinstance(value, quote):
        return inner
    if isinstance(value, allow_failure):
        kind = UpstreamKind.DATA_OR_FAILURE
    return _replaced(inner, by, kind, inside, kinds)


def value_of(future: Future[Any], kind: int) -> Any:
    """Wait for an upstream run and return its value, or its exception where that is admitted.

    Raises:
        UpstreamTaskError: The run did not complete.
    """
    may_fail = kind == UpstreamKind.DATA_OR_FAILURE
    state = future.wait()
    assert state is not None  # there was no timeout
    if state.is_completed() or (may_fail and state.is_failed()):
        return state.result(raise_on_failure=False)
    if may_fail and state.name == "NotReady":
        return None
    raise upstream_error(future)


def upstream_error(future: Future[Any]) -> UpstreamTaskError:
    """Say that a run did not complete which something needs, as the control plane says it of runs."""
    outcome = future.outcome
    if not isinstance(outcome, pb.RunOutcome):
        return UpstreamTaskError(upstream_failed(str(future.task_run_id), 0, ""))
    if int(outcome.state) == RunState.NOT_READY and outcome.message:
        return UpstreamTaskError(outcome.message)
    failure, name = outcome.failure, outcome.run_name or str(future.task_run_id)
    why = why_failed(failure.type, failure.message, outcome.message, int(outcome.reason))
    return UpstreamTaskError(upstream_failed(name, int(outcome.state), why))
