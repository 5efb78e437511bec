"""Turns calls of tasks into submitted runs. The client's hot path: a few microseconds a run.

Invariant: everything that can be wrong with a call is raised before a run exists; of a map, before any of its
runs exists.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, Final, NamedTuple

from taskyard._data.runs.state import State
from taskyard._engine.assets.in_use import use
from taskyard._engine.definitions.task_definition import TaskDefinition
from taskyard._engine.futures.future import Future
from taskyard._engine.futures.sets import FutureList
from taskyard._engine.futures.typed import TypedFuture
from taskyard._engine.submission.arguments import add_order, check_upstream, offload, pack, pack_large
from taskyard._engine.submission.large_values import LargeValues
from taskyard._engine.submission.mapping import Expansion
from taskyard._engine.submission.packing import SMALL_BYTES, packed
from taskyard._engine.submission.ports import Arguments, EarlierRuns
from taskyard._engine.submission.scope import Scope
from taskyard._engine.submission.speaking import say_submitted
from taskyard._engine.submission.templates import group_of
from taskyard._engine.world.seen import look_now
from taskyard._network.session.outbox import BYTES_PER_FRAME, RUNS_PER_FRAME
from taskyard._network.session.refusals import already_submitted
from taskyard._network.session.run_groups import RunGroup, Upstream
from taskyard._network.session.session import Session
from taskyard.context import current_transaction, transaction_here
from taskyard_contract.id_factory import new_id, new_ids
from taskyard_contract.pickling import IN_MAIN, dumps_apart, names_in
from taskyard_contract.references import begin_collecting
from taskyard_contract.states import UpstreamKind
from taskyard_contract.values.layout import LaidOut

_NONE: Final[Any] = None


class Called(NamedTuple):
    """A task as it is called from somewhere."""

    task: TaskDefinition[..., Any]
    """With what it takes over from there."""
    hooked: TaskDefinition[..., Any]
    """With its hooks, which a transaction calls when it ends."""
    transaction: Any
    """The one that its runs are parts of, if it is called in one."""
    carried: Any
    """The assets that its runs are made of, if the program has any."""


class Identity(NamedTuple):
    """What a run is submitted as that was made before."""

    run_id: bytes
    ordinal: int | None
    """Its number, if it has one."""


def submit_one(
    task: TaskDefinition[..., Any],
    scope: Scope,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    wait_for: object = None,
    direct: bool = False,
    lazy: bool = False,
    at_once: bool = False,
    identity: Identity | None = None,
) -> Future[Any]:
    """Submit one run of a task.

    Args:
        task: The task.
        scope: Where the call is made.
        args: Positional arguments.
        kwargs: Keyword arguments.
        wait_for: What else must have ended before.
        direct: Whether the caller waits for it, and could execute it in its own thread.
        lazy: Whether the caller takes values while it is executed, so that no result can stand for it.
        at_once: Whether the caller waits for it without executing it.
        identity: What it is submitted as, if it was made before.

    Raises:
        ParameterBindError: The arguments do not fit.
        NotPicklable, PayloadTooLarge: They cannot travel to another process, or upstream runs are too many.
    """
    task.signature.check(args, kwargs)
    call, session, key = (args, kwargs), scope.session, None
    names: set[str] = set()
    is_plain = scope.inherited is None and not use.begun and current_transaction() is None  # nearly always
    parts_of_call = (task, task, _NONE, _NONE) if is_plain else _called(task, scope, call, wait_for)
    task, hooked, transaction, carried = parts_of_call
    if scope.earlier is not None:
        key, found = _look(
            scope.earlier, task, scope, call, wait_for, lazy or transaction is not None, carried
        )
        if found is not None:
            return found
    future = future_of(task, new_id() if identity is None else _unused(identity.run_id, session), scope)
    data, upstream, cache_key, extra = packed(task, scope, future, call, direct, names)
    group = group_of(task, scope, session, names)
    if upstream or wait_for is not None or (scope.known is not None and scope.known.known):
        _complete(upstream, task.name, scope, call, wait_for)
    if scope.kept_futures is not None:
        scope.kept_futures.append(future)
    ordinal = scope.take_ordinals(task.task_key) if identity is None else _ordinal_of(task, scope, identity)
    if carried:
        _note_assets(task, scope, [future], carried)
    # Before the run: what it does can be undone by somebody else from its first moment on.
    parts = () if transaction is None else transaction.parts_of(hooked, (future,), cache_key, lazy)
    session.submit(group, future, data, ordinal, upstream, None if lazy else cache_key, extra)
    for part in parts:
        transaction.follow(part)
    if key is not None and scope.earlier is not None:
        scope.earlier.note(key, future)
    if scope.speaks:
        _say(task, extra, ordinal, direct or at_once)
    return future


def _look(
    earlier: EarlierRuns,
    task: TaskDefinition[..., Any],
    scope: Scope,
    call: Arguments,
    wait_for: object,
    is_new: bool,
    carried: Any,
) -> tuple[Any, Future[Any] | None]:
    """Return what a call was before, as `EarlierRuns.look` does."""
    key, found = earlier.look(task, scope, call, wait_for, is_new)
    if found is not None and carried and not earlier.is_plan:
        _note_assets(task, scope, [found], carried)
    return key, found


def _say(task: TaskDefinition[..., Any], extra: Any, ordinal: int, at_once: bool) -> None:
    name = (extra.name if extra is not None else "") or f"{task.name}-{ordinal}"
    say_submitted(task, [name], at_once=at_once)


def submit_many(
    task: TaskDefinition[..., Any], scope: Scope, expansion: Expansion, wait_for: object = None
) -> FutureList[Any]:
    """Submit the children of a map.

    Raises:
        NotPicklable: An argument cannot travel to another process.
        PayloadTooLarge: The arguments of a child are larger than the control plane takes.
    """
    look_now()
    called = _called(task, scope, expansion.given, wait_for)
    scope.latest_map = task.name
    if scope.earlier is not None:
        submit, is_new = partial(_submit_new, called, scope, wait_for), called.transaction is not None
        children: FutureList[Any] = scope.earlier.map(called.task, scope, expansion, wait_for, submit, is_new)
        if called.carried and not scope.earlier.is_plan:
            _note_assets(called.task, scope, children, called.carried)
        return children
    return _submit_new(called, scope, wait_for, expansion)


def _called(task: TaskDefinition[..., Any], scope: Scope, given: object, wait_for: object) -> Called:
    carried = None
    if use.begun:
        task, carried = _with_assets(task, scope, given, wait_for)
    if scope.inherited is not None and not task.is_remote:
        task = task.inheriting(scope.inherited)
    transaction = transaction_here()
    if transaction is None or task.is_remote:
        return Called(task, task, transaction, carried)
    return Called(task.staged(), task, transaction, carried)


def _submit_new(called: Called, scope: Scope, wait_for: object, expansion: Expansion) -> FutureList[Any]:
    """Submit children of a map that no earlier run stands for."""
    task, hooked, transaction, carried = called
    groups = _Groups(task, scope, scope.take_ordinals(task.task_key, expansion.count))
    futures: FutureList[Any] = FutureList(_futures(task, scope, expansion.count))
    if carried:
        _note_assets(task, scope, futures, carried)
    shared = shared_upstream(expansion.resolved, wait_for)
    if scope.known is not None:
        scope.note_sources(shared, *expansion.given)
    large = LargeValues(task.name, scope.session)
    if scope.executor is None and not task.is_remote:
        large.share(expansion.constants)
    if scope.executor is None and not (task.call_work or task.is_remote):
        _pack_plain(task, scope, groups, zip(futures, expansion.calls, strict=False), shared, large)
    else:
        for future, call in zip(futures, expansion.calls, strict=False):
            names: set[str] = set()
            data, upstream, cache_key, extra = packed(task, scope, future, call, False, names, large)
            groups.need(names)
            upstream = check_upstream(task.name, {**shared, **upstream})
            groups.open().add(future.run_id, data, upstream, cache_key, extra)
    # Nothing was sent so far: a child that cannot be submitted must not leave its siblings behind.
    if scope.kept_futures is not None:
        scope.kept_futures.extend(futures)
    parts = [] if transaction is None else transaction.parts_of(hooked, futures)
    start = 0
    for group in groups.all:
        end = start + len(group.run_ids)
        scope.session.submit_group(group, futures[start:end])
        for part in parts[start:end]:
            transaction.follow(part)
        if scope.speaks:
            say_submitted(task, group.names(task.name), at_once=False)
        start = end
    return futures


def _with_assets(
    task: TaskDefinition[..., Any], scope: Scope, call: object, wait_for: object
) -> tuple[TaskDefinition[..., Any], Any]:
    from taskyard._engine.submission.passing_assets import upstream_of  # its models take long to import

    return upstream_of(task, scope, call, wait_for)


def _note_assets(
    task: TaskDefinition[..., Any], scope: Scope, futures: list[Future[Any]], carried: Any
) -> None:
    from taskyard._engine.submission.passing_assets import note_runs

    note_runs(task, scope, futures, carried)


def future_of(task: TaskDefinition[..., Any], run_id: bytes, scope: Scope) -> Future[Any]:
    """Return the future of a run, which reads its result as the task says."""
    reading = task.reading
    return Future(run_id, scope) if reading is None else TypedFuture(run_id, scope, reading)


def _futures(task: TaskDefinition[..., Any], scope: Scope, count: int) -> list[Future[Any]]:
    if task.reading is None:
        return [Future(run_id, scope) for run_id in new_ids(count)]
    return [future_of(task, run_id, scope) for run_id in new_ids(count)]


def _unused(run_id: bytes, session: Session) -> bytes:
    """Return an id that a caller gave.

    Raises:
        RunExists: There is a run of this id, which has not ended.
    """
    if session.unended(run_id) is not None:
        raise already_submitted(run_id)
    return run_id


def _ordinal_of(task: TaskDefinition[..., Any], scope: Scope, identity: Identity) -> int:
    """Return the number of a run: that which it was made with, or the next one."""
    return scope.take_ordinals(task.task_key) if identity.ordinal is None else identity.ordinal


def _complete(upstream: Upstream, name: str, scope: Scope, call: Arguments, wait_for: object) -> None:
    """Add to the upstream runs of a call what its arguments do not say themselves.

    Raises:
        PayloadTooLarge: They are too many.
    """
    if wait_for is not None:
        add_order(upstream, wait_for)
    scope.note_sources(upstream, *call)  # last: what a run waits for says more, and is what tells calls apart
    check_upstream(name, upstream)


def shared_upstream(resolved: Iterable[Any], wait_for: object) -> Upstream:
    """Return the runs that every child of a map has to wait for."""
    shared: Upstream = {future.run_id: UpstreamKind.ORDER_OR_FAILURE for future in resolved}
    return add_order(shared, wait_for) if wait_for is not None else shared


class _Groups:
    """The groups that the children of one map fill, none of them larger than a frame."""

    def __init__(self, task: TaskDefinition[..., Any], scope: Scope, first_ordinal: int) -> None:
        self._task = task
        self._scope = scope
        self._key = group_of(task, scope, scope.session)
        self._next_ordinal = first_ordinal
        self.all: list[RunGroup] = []

    def need(self, names: set[str]) -> None:
        """Have names of the main module come along with the code of the next child."""
        if not names <= self._key.template.names:
            self._key = group_of(self._task, self._scope, self._scope.session, names)

    def open(self) -> RunGroup:
        """Return the group that the next child belongs to."""
        if self.all:
            last = self.all[-1]
            if last.key is self._key and len(last.run_ids) < RUNS_PER_FRAME and last.size <= BYTES_PER_FRAME:
                return last
            self._next_ordinal += len(last.run_ids)
        group = RunGroup(self._key, self._next_ordinal)
        self.all.append(group)
        return group


def _pack_plain(
    task: TaskDefinition[..., Any],
    scope: Scope,
    groups: _Groups,
    children: Iterator[tuple[Future[Any], Arguments]],
    shared: Upstream,
    large: LargeValues,
) -> None:
    """Pack children that need nothing but their arguments pickled.

    What `packed` does, written out and with the collecting of references begun once for all of them: that
    halves the cost of a child, and a map has thousands.
    """
    collected: Upstream = {}
    group: RunGroup | None = None
    has_shared = large.has_shared
    outside = begin_collecting(collected)
    try:
        for future, call in children:
            args, kwargs = call
            if has_shared or State in map(type, args) or (kwargs and State in map(type, kwargs.values())):
                data: bytes | LaidOut | None = None
            else:
                try:
                    data = dumps_apart(call)
                except Exception:
                    pack(task.name, args, kwargs, collected)  # said again, with the path of the culprit
                    raise  # it did not come from the arguments: the time of the flow is up
            if type(data) is not bytes or len(data) > SMALL_BYTES:
                collected.clear()
                group = _pack_large(task, scope, groups, future.run_id, call, shared, large)
                continue
            if IN_MAIN in data:
                groups.need(names_in(call))
                group = groups.open()
            if group is None or len(group.run_ids) >= RUNS_PER_FRAME or group.size > BYTES_PER_FRAME:
                group = groups.open()
            if not (collected or shared):
                group.add_plain(future.run_id, data)
                continue
            upstream = check_upstream(task.name, {**shared, **collected})
            group.add(future.run_id, data, upstream, None, None)
            collected.clear()
    finally:
        begin_collecting(outside)


def _pack_large(
    task: TaskDefinition[..., Any],
    scope: Scope,
    groups: _Groups,
    run_id: bytes,
    call: Arguments,
    shared: Upstream,
    large: LargeValues,
) -> RunGroup:
    """Pack a child with what few children have: states, and values that are stored by themselves."""
    upstream: Upstream = dict(shared)
    names: set[str] = set()
    data, refs = pack_large(task.name, call, upstream, names, large)
    if names:
        groups.need(names)
    extra = offload(task.name, data, refs, scope.session)
    group = groups.open()
    check_upstream(task.name, upstream)
    group.add(run_id, b"" if extra is not None else data, upstream, None, extra)
    return group
