"""One call, packed: its arguments as bytes, its upstream runs, and what can be known before it starts."""

from typing import Any, Final

from taskyard._data.runs.records import TaskRun
from taskyard._engine.definitions.run_names import render_run_name
from taskyard._engine.definitions.task_definition import TaskDefinition
from taskyard._engine.futures.future import Future
from taskyard._engine.submission.arguments import Packed as Written
from taskyard._engine.submission.arguments import offload, pack, pack_large
from taskyard._engine.submission.large_values import LARGE_BYTES, LargeValues
from taskyard._engine.submission.ports import Arguments
from taskyard._engine.submission.scope import Scope
from taskyard._network.session.run_groups import Upstream
from taskyard.context import TaskRunContext
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.values.layout import LaidOut

SMALL_BYTES: Final = 32 * 1024
"""Arguments up to this size are inline for every server; larger ones are compared with its limit."""

Packed = tuple[bytes, Upstream, str | None, pb.RunExtra | None]
"""Arguments, upstream runs, cache key and whatever else there is to say, in the order of `RunGroup.add`."""


def packed(
    task: TaskDefinition[..., Any],
    scope: Scope,
    future: Future[Any],
    call: Arguments,
    direct: bool,
    names: set[str],
    large: LargeValues | None = None,
) -> Packed:
    """Pack one call.

    Args:
        task: The task.
        scope: Where it is called.
        future: Of the run that the call becomes.
        call: The arguments.
        direct: Whether the caller waits for it, and could execute it in its own thread.
        names: Gets the names of the main module that the arguments refer to.
        large: Has what several calls share, and stores what is large in this one.

    Raises:
        NotPicklable: An argument cannot travel to another process.
        PayloadTooLarge: The arguments are larger than the control plane takes.
    """
    upstream: Upstream = {}
    if task.is_remote:
        from taskyard._engine.submission.json_arguments import pack_json  # only few programs need it

        data: bytes | LaidOut = pack_json(task.name, *call, upstream)
    elif scope.executor is not None:
        scope.executor.keep(task, scope, future, call, upstream, direct)
        data = b""
    elif large is not None and large.has_shared:
        written = pack_large(task.name, call, upstream, names, large)
        return _with_more(task, scope, future, call, written, upstream)
    else:
        data = pack(task.name, *call, upstream, names)
    if type(data) is not bytes or (len(data) >= LARGE_BYTES and not task.is_remote):
        large = large or LargeValues(task.name, scope.session)
        written = pack_large(task.name, call, upstream, names, large)
        return _with_more(task, scope, future, call, written, upstream)
    if task.call_work or len(data) > SMALL_BYTES:
        return _with_more(task, scope, future, call, Written(data), upstream)
    return data, upstream, None, None


def _with_more(
    task: TaskDefinition[..., Any],
    scope: Scope,
    future: Future[Any],
    call: Arguments,
    written: Written,
    upstream: Upstream,
) -> Packed:
    """Add what only some calls have: a place for large arguments, a name, a cache key."""
    data, refs = written
    extra = offload(task.name, data, refs, scope.session)
    if extra is not None:
        data = b""
    if not task.call_work or upstream:  # with upstream runs the worker knows the arguments first
        return data, upstream, None, extra
    context = _context_of(task, scope, future.run_id, call)
    template = task.settings.task_run_name
    with context:  # callables may ask taskyard.runtime
        name = ""
        if template is not None:
            name = render_run_name(template, context.parameters, f"task '{task.name}'")
        cache_key = task.cache_key_of(context)
    if name:
        extra = extra or pb.RunExtra()
        extra.name = name
    return data, upstream, cache_key, extra


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
        parent_run_id=scope.caller_run_id,
        tags=task.settings.tags,
        run_count=0,
    )
    return TaskRunContext(task, run, lambda: task.signature.bind(*call), log_prints=scope.log_prints)
