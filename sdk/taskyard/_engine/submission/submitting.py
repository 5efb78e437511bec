"""Turns calls of tasks into submitted runs. The client's hot path: a few microseconds a run.

Invariant: everything that can be wrong with a call is raised before a run exists.
"""

from collections.abc import Iterable
from typing import Any, Final

from taskyard._data.runs.records import TaskRun
from taskyard._data.runs.state import State
from taskyard._engine.definitions.run_names import render_run_name
from taskyard._engine.definitions.task_definition import TaskDefinition
from taskyard._engine.futures.future import Future
from taskyard._engine.futures.sets import FutureList
from taskyard._engine.submission.arguments import Upstream, add_order, offload, pack
from taskyard._engine.submission.mapping import Expansion
from taskyard._engine.submission.scope import Arguments, Scope
from taskyard._engine.submission.templates import template_of
from taskyard._network.session.outbox import BYTES_PER_FRAME, RUNS_PER_FRAME, Block
from taskyard._network.session.templates import Template
from taskyard.context import TaskRunContext
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.id_factory import new_id, new_ids
from taskyard_contract.pickling import dumps
from taskyard_contract.references import begin_collecting
from taskyard_contract.states import UpstreamKind

_SMALL: Final = 32 * 1024
"""Arguments up to this size are inline for every server; larger ones are compared with its limit."""


def submit_one(
    task: TaskDefinition[..., Any],
    scope: Scope,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    wait_for: object = None,
    direct: bool = False,
) -> Future[Any]:
    """Submit one run of a task.

    Args:
        task: The task.
        scope: Where the call is made.
        args: Positional arguments.
        kwargs: Keyword arguments.
        wait_for: What else must have ended before.
        direct: Whether the caller waits for it, and could execute it in its own thread.

    Raises:
        ParameterBindError: The arguments do not fit.
        NotPicklable: An argument cannot travel to another process.
        PayloadTooLarge: The arguments are larger than the control plane takes.
    """
    task.signature.check(args, kwargs)
    session = scope.session
    template = template_of(task, scope, session)
    run_id = new_id()
    future: Future[Any] = Future(run_id, scope)
    upstream: Upstream = {}
    if scope.executor is not None:
        scope.executor.keep(task, scope, future, (args, kwargs), upstream, direct)
        data = b""
    else:
        data = pack(task.name, args, kwargs, upstream)
    cache_key, extra = None, None
    if task.call_work or len(data) > _SMALL:
        ref = offload(task.name, data, session)
        data = b"" if ref is not None else data
        cache_key, extra = _call_work(task, scope, future, (args, kwargs), upstream, ref)
    if wait_for is not None:
        add_order(upstream, wait_for)
    if scope.kept_futures is not None:
        scope.kept_futures.append(future)
    session.submit(
        template,
        scope.flow_run_id,
        scope.parent_run_id,
        future,
        data,
        scope.take_ordinals(task.task_key),
        upstream,
        cache_key,
        extra,
    )
    return future


def _call_work(
    task: TaskDefinition[..., Any],
    scope: Scope,
    future: Future[Any],
    call: Arguments,
    upstream: Upstream,
    ref: Any = None,
) -> tuple[str | None, pb.RunExtra | None]:
    """Compute what can be known before the run starts: its cache key and its name."""
    if not task.call_work or upstream:
        return None, pb.RunExtra(args=ref) if ref is not None else None
    context = _context_of(task, scope, future.run_id, call)
    template = task.settings.task_run_name
    with context:  # callables may ask taskyard.runtime
        name = render_run_name(template, context.parameters) if template is not None else ""
        cache_key = task.cache_key_of(context) if task.has_cache_key else None
    extra = pb.RunExtra(name=name, args=ref) if name or ref is not None else None
    return cache_key, extra


def _context_of(
    task: TaskDefinition[..., Any], scope: Scope, run_id: bytes, call: Arguments
) -> TaskRunContext:
    """Make the context that `cache_key_fn` sees when its arguments are known at submission."""
    run = TaskRun(
        run_id,
        task.name,
        task_name=task.name,
        task_key=task.task_key,
        flow_run_id=scope.flow_run_id,
        parent_run_id=scope.parent_run_id,
        tags=task.settings.tags,
        run_count=0,
    )
    return TaskRunContext(task, run, lambda: task.signature.bind(*call), log_prints=scope.log_prints)


def submit_many(
    task: TaskDefinition[..., Any], scope: Scope, expansion: Expansion, wait_for: object = None
) -> FutureList[Any]:
    """Submit the children of a map.

    Raises:
        NotPicklable: An argument cannot travel to another process.
        PayloadTooLarge: The arguments of a child are larger than the control plane takes.
    """
    session = scope.session
    template = template_of(task, scope, session)
    futures: FutureList[Any] = FutureList([Future(run_id, scope) for run_id in new_ids(expansion.count)])
    shared = _shared_upstream(expansion.resolved, wait_for)
    first = scope.take_ordinals(task.task_key, expansion.count)
    packing = _Packing(task, scope, template, first, shared)
    plain = scope.executor is None and not task.call_work
    blocks = packing.plain(futures, expansion) if plain else packing.special(futures, expansion)
    # Nothing was sent so far: a child that cannot be submitted must not leave its siblings behind.
    if scope.kept_futures is not None:
        scope.kept_futures.extend(futures)
    start = 0
    for block in blocks:
        end = start + len(block.run_ids)
        session.submit_block(block, futures[start:end])
        start = end
    return futures


def _shared_upstream(resolved: Iterable[Any], wait_for: object) -> Upstream:
    shared: Upstream = {future.run_id: UpstreamKind.ORDER_OR_FAILURE for future in resolved}
    return add_order(shared, wait_for) if wait_for is not None else shared


class _Packing:
    """Puts the children of one map into blocks."""

    def __init__(
        self,
        task: TaskDefinition[..., Any],
        scope: Scope,
        template: Template,
        first_ordinal: int,
        shared: Upstream,
    ) -> None:
        self._task = task
        self._scope = scope
        self._template = template
        self._first = first_ordinal
        self._shared = shared
        self._blocks: list[Block] = []

    def _next_block(self) -> Block:
        done = sum(len(block.run_ids) for block in self._blocks)
        scope = self._scope
        block = Block(self._template, scope.flow_run_id, scope.parent_run_id, self._first + done)
        self._blocks.append(block)
        return block

    def plain(self, futures: FutureList[Any], expansion: Expansion) -> list[Block]:
        """Pack children that need nothing but their arguments pickled."""
        shared = self._shared
        collected: Upstream = {}
        block: Block | None = None
        outside = begin_collecting(collected)
        try:
            for future, call in zip(futures, expansion.calls, strict=False):
                try:
                    data = (
                        dumps(call)
                        if State not in map(type, call[0])
                        else pack(self._task.name, *call, collected)
                    )
                except Exception:  # said again, with the path of the culprit
                    data = pack(self._task.name, *call, collected)
                if block is None or len(block.run_ids) >= RUNS_PER_FRAME or block.size > BYTES_PER_FRAME:
                    block = self._next_block()
                if not (collected or shared or len(data) > _SMALL):
                    block.add_plain(future.run_id, data)
                    continue
                self._add(block, future, data, {**shared, **collected})
                collected.clear()
        finally:
            begin_collecting(outside)
        return self._blocks

    def special(self, futures: FutureList[Any], expansion: Expansion) -> list[Block]:
        """Pack children of tasks with run names or cache keys, or that stay in this process."""
        local = self._scope.executor
        block: Block | None = None
        for future, (args, kwargs) in zip(futures, expansion.calls, strict=False):
            upstream: Upstream = {}
            if local is not None:
                local.keep(self._task, self._scope, future, (args, kwargs), upstream, False)
                data = b""
            else:
                data = pack(self._task.name, args, kwargs, upstream)
            if block is None or len(block.run_ids) >= RUNS_PER_FRAME or block.size > BYTES_PER_FRAME:
                block = self._next_block()
            self._add(block, future, data, {**self._shared, **upstream}, (args, kwargs), bool(upstream))
        return self._blocks

    def _add(
        self,
        block: Block,
        future: Future[Any],
        data: bytes,
        upstream: Upstream,
        call: Arguments | None = None,
        waits: bool = True,
    ) -> None:
        ref = offload(self._task.name, data, self._scope.session)
        cache_key, extra = None, pb.RunExtra(args=ref) if ref is not None else None
        if call is not None and not waits:
            cache_key, extra = _call_work(self._task, self._scope, future, call, {}, ref)
        block.add(future.run_id, b"" if ref is not None else data, upstream, cache_key, extra)
