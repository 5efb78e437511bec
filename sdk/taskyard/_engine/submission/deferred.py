"""Runs that belong to no session: they outlive the program that made them.

Invariant: when `submit_deferred` returns, the run is durable.
"""

from typing import Any

from taskyard._data.values.headers import merged
from taskyard._engine.definitions.served_names import served_as
from taskyard._engine.definitions.task_definition import TaskDefinition
from taskyard._engine.submission.arguments import Packed, add_order, offload, pack_large
from taskyard._engine.submission.futures_by_id import TaskyardDistributedFuture
from taskyard._engine.submission.large_values import LargeValues
from taskyard._engine.submission.scope import current_scope, outside_scope
from taskyard._engine.submission.templates import group_of
from taskyard._engine.world.announcing import outlive
from taskyard._network.session.refusals import error_of
from taskyard._network.session.run_groups import Upstream
from taskyard._network.session.session import Session
from taskyard.context import current_headers
from taskyard_api.v1 import common_pb2, run_service_pb2, template_pb2
from taskyard_contract.id_factory import new_id


def submit_deferred(
    task: TaskDefinition[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], wait_for: object = None
) -> TaskyardDistributedFuture[Any]:
    """Submit a run by a unary call and watch it from this process's session.

    Raises:
        ParameterBindError: The arguments do not fit.
        NotPicklable: An argument cannot travel to another process.
        TaskyardError: The control plane refused the run.
    """
    task.signature.check(args, kwargs)
    around = current_scope()
    if around is not None and around.earlier is not None:
        around.earlier.outside(f"'{task.name}'")
    scope = outside_scope()
    if scope.inherited is not None and not task.is_remote:
        task = task.inheriting(scope.inherited)
    session = scope.session
    upstream: Upstream = {}
    names: set[str] = set()
    data, refs = _written(task, session, args, kwargs, upstream, names)
    template = group_of(task, scope, session, names).template
    message = _for_servers(task, template.message)
    outlive()
    payload = common_pb2.Payload(data=data)
    extra = offload(task.name, data, refs, session)
    if extra is not None:
        payload = extra.payload if extra.HasField("payload") else common_pb2.Payload(blob=extra.args)
    payload.encoding = message.encoding
    headers = merged((current_scope() or scope).headers, current_headers())
    run = run_service_pb2.NewRun(run_id=new_id(), template=message, args=payload, headers=headers)
    for run_id, kind in add_order(upstream, wait_for).items():
        run.upstream.add(run_id=run_id, kind=kind)
    request = run_service_pb2.SubmitRunsRequest(runs=[run])
    if template.code:
        request.blobs.append(common_pb2.InlineBlob(digest=template.digest, data=template.code))
    for refused in session.client().submit_runs(request).refused:
        raise error_of(refused)
    future: TaskyardDistributedFuture[Any] = TaskyardDistributedFuture(run.run_id, scope, task.reading)
    session.watch(future)
    return future


def _for_servers(
    task: TaskDefinition[..., Any], message: template_pb2.RunTemplate
) -> template_pb2.RunTemplate:
    """Return a template whose runs are also given to programs that serve the task."""
    if task.is_remote:
        return message
    shared = template_pb2.RunTemplate(served_as=served_as(task.fn))
    shared.MergeFrom(message)
    return shared


def _written(
    task: TaskDefinition[..., Any],
    session: Session,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    upstream: Upstream,
    names: set[str],
) -> Packed:
    if not task.is_remote:
        large = LargeValues(task.name, session)
        return pack_large(task.name, (args, kwargs), upstream, names, large)
    from taskyard._engine.submission.json_arguments import pack_json  # only few programs need it

    return Packed(pack_json(task.name, args, kwargs, upstream))
