"""What the runs of a task, or of a flow, have in common, written once as a message.

A template is asked for at every call, and made at the first one from a place with these tags. Two caches keep
it: the definition remembers the latest one together with what it was made for, compared by identity (that is
nearly every call), and all of them by what decides their contents.
"""

import hashlib
from collections.abc import Set
from typing import Any, Final

from taskyard._data.values.hashing import code_fingerprint
from taskyard._data.values.headers import merged
from taskyard._engine.definitions.flow_definition import FlowDefinition
from taskyard._engine.definitions.flow_options import Code
from taskyard._engine.definitions.task_definition import TaskDefinition
from taskyard._engine.definitions.whereabouts import entrypoint_of
from taskyard._engine.execution.task_body import TaskBody
from taskyard._engine.submission.scope import Scope
from taskyard._engine.world.announcing import world_of
from taskyard._engine.world.main_image import image
from taskyard._engine.world.seen import PAUSE_NS, Look, Seen
from taskyard._network.session.run_groups import GroupKey
from taskyard._network.session.session import Session
from taskyard._network.session.templates import Template
from taskyard.context import current_headers, current_tags, transaction_here
from taskyard.exceptions import HashError, PayloadTooLarge
from taskyard_api.v1 import template_pb2
from taskyard_contract import pickling
from taskyard_contract.capabilities import own_version
from taskyard_contract.languages.encoding_names import JSON
from taskyard_contract.states import RunKind

INLINE_CODE_BYTES: Final = 1024 * 1024
"""Larger code is uploaded once, so that frames with templates stay small."""


def group_of(
    task: TaskDefinition[..., Any], scope: Scope, session: Session, names: Set[str] = frozenset()
) -> GroupKey:
    """Return the template of a task's runs that are submitted from `scope`, together with that place.

    Args:
        task: The task.
        scope: Where it is called.
        session: Where its runs are submitted.
        names: Names of the main module that arguments refer to.
    """
    tags, headers = current_tags(), current_headers()
    latest_scope, latest_tags, latest_headers, latest = task.latest_group
    is_there = latest_scope is scope and latest_tags is tags and latest_headers is headers
    # Written out, as `_serves` is: for each run that is submitted.
    if is_there and latest.template.holds() and (not names or names <= latest.template.names):
        found: GroupKey = latest
        return found
    key = (tags, scope.log_prints, scope.queue, session.session_id, scope.code)
    template = task.templates.get(key)
    if template is None or not _serves(template, names):
        template = task.templates[key] = _make_template(task, scope, tags, session, names)
    all_headers = merged(scope.headers, headers)
    group = GroupKey(template, scope.flow_run_id, scope.caller_run_id, all_headers)
    task.latest_group = (scope, tags, headers, group)
    return group


def _serves(template: Template, names: Set[str]) -> bool:
    """Say whether the code of a template is what it would be now, and has what arguments refer to."""
    return template.holds() and names <= template.names


def _make_template(
    task: TaskDefinition[..., Any],
    scope: Scope,
    tags: frozenset[str],
    session: Session,
    names: Set[str],
) -> Template:
    if task.is_remote:
        return Template(named_template(task, tags))  # of those a transaction undoes nothing
    if scope.executor is None:
        return task_template(task, tags, scope.log_prints, session, scope.code, names, scope.queue)
    message = plain_template(task, tags)
    _move(message, scope.queue)
    message.code.task_name = task.task_key
    message.coroutine = (
        task.isasync and not task.isgenerator
    )  # those go on in the loop of whoever takes the values
    return Template(message)


def _move(message: template_pb2.RunTemplate, queue: str) -> None:
    """Have runs wait in a queue that only one process serves."""
    message.queue = queue
    message.ClearField("agent_labels")  # they choose among agents, and there is none to choose


def task_template(
    task: TaskDefinition[..., Any],
    tags: frozenset[str],
    log_prints: bool,
    session: Session,
    flow_code: Code = (),
    names: Set[str] = frozenset(),
    queue: str = "",
) -> Template:
    """Make the template of a task's runs, with the code that workers load.

    Args:
        task: The task.
        tags: Those of its runs.
        log_prints: What it inherits.
        session: Where its runs are submitted.
        flow_code: What the flow says of its code.
        names: Names of the main module that arguments refer to.
        queue: The queue of all runs from there; empty for what the task says.
    """
    message = plain_template(task, tags)
    if queue:
        _move(message, queue)
    code = image.code_of(task.name, TaskBody(task, log_prints), names)
    data = code.data
    if len(data) > session.max_payload_bytes:
        raise PayloadTooLarge(
            f"the code of '{task.name}' takes {len(data):,} bytes, the server takes at most "
            f"{session.max_payload_bytes:,}; it probably refers to a large global variable: pass that as an "
            "argument, or load it inside the task",
            limit=session.max_payload_bytes,
        )
    message.code.blob_digest = hashlib.sha256(data).digest()
    world = world_of(session, flow_code)
    message.python_version = "" if world.is_near else own_version()
    message.world.CopyFrom(world.message)
    seen = Seen.all_of([code.seen, Seen(later=[Look(PAUSE_NS, world.holds)])])
    if len(data) > INLINE_CODE_BYTES:
        session.blobs.put_for_all(data)
        data = b""
    return Template(message, data, code.names, seen.holds)


def code_fingerprint_of(fn: Any) -> bytes:
    """Return what stands for the code of a function alone; empty for what cannot be told apart."""
    try:
        return bytes.fromhex(code_fingerprint(fn, alone=True))
    except HashError:
        return b""


def plain_template(task: TaskDefinition[..., Any], tags: frozenset[str]) -> template_pb2.RunTemplate:
    """Write what the runs of a task have in common, without its code."""
    settings = task.settings
    return template_pb2.RunTemplate(
        kind=RunKind.TASK,  # type: ignore[arg-type]  # the enums are numerically equal
        name=settings.name,
        task_key=task.task_key,
        version=settings.version or "",
        queue=settings.queue,
        agent_labels=settings.agent_labels,
        priority=settings.priority,
        tags=sorted(settings.tags | tags),
        encoding=pickling.ENCODING,
        result_encoding=settings.wire_result_encoding,
        retry=template_pb2.RetryPolicy(
            max_retries=settings.retries,
            delays_ms=settings.retry_delays_ms,
            jitter_factor=settings.retry_jitter_factor,
        ),
        timeout_ms=settings.timeout_ms,
        heartbeat_timeout_ms=settings.heartbeat_timeout_ms,
        cache_expiration_ms=_cache_expiration_ms(task),
        refresh_cache=bool(settings.refresh_cache),
        coroutine=task.isasync,
        code_fingerprint=b"" if task.is_remote else code_fingerprint_of(task.fn),
        in_transaction=not task.is_remote and task.is_staged,
    )


def _cache_expiration_ms(task: TaskDefinition[..., Any]) -> int:
    """Return for how long the control plane takes a result for that of other runs; 0 is for ever.

    Where records in the user's storage stand for runs, a worker looks whether there still is one. Then the
    control plane only lets one run at a time do so, and gives what comes of it to those that wait for that.
    """
    if task.results is not None and task.results.storage is not None:
        return 1
    return task.settings.cache_expiration_ms


def named_template(task: TaskDefinition[..., Any], tags: frozenset[str]) -> template_pb2.RunTemplate:
    """Write the template of runs that are executed by whoever serves the task's name, in any language."""
    message = plain_template(task, tags)
    message.encoding, message.result_encoding = JSON, ""
    message.coroutine = False  # how it is executed there is not known here
    message.code.task_name = task.name
    return message


def flow_template(flow: FlowDefinition[..., Any]) -> Template:
    """Return the template of flow runs that are made here and now."""
    key = current_tags(), transaction_here() is not None
    template: Template | None = flow.templates.get(key)
    if template is None:
        template = flow.templates[key] = Template(_flow_message(flow, *key))
    return template


def _flow_message(
    flow: FlowDefinition[..., Any], tags: frozenset[str], in_transaction: bool
) -> template_pb2.RunTemplate:
    settings = flow.settings
    return template_pb2.RunTemplate(
        kind=RunKind.FLOW,  # type: ignore[arg-type]  # the enums are numerically equal
        name=settings.name,
        task_key=flow.flow_key,
        version=settings.version or "",
        tags=sorted(tags),
        encoding=pickling.ENCODING,
        result_encoding=settings.wire_result_encoding,
        retry=template_pb2.RetryPolicy(max_retries=settings.retries, delays_ms=settings.retry_delays_ms),
        entrypoint=entrypoint_of(flow.fn),
        code_fingerprint=code_fingerprint_of(flow.fn),
        in_transaction=in_transaction,
    )
