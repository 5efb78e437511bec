"""A flow run on its way to the control plane."""

from collections.abc import Mapping
from typing import Any

from taskyard._engine.definitions.flow_definition import FlowDefinition
from taskyard._engine.submission.arguments import offload
from taskyard._engine.submission.scope import Scope
from taskyard._engine.submission.templates import flow_template
from taskyard._network.session.run_groups import GroupKey, RunGroup, Upstream
from taskyard_api.v1 import session_service_pb2 as pb


def submit_flow(
    flow: FlowDefinition[..., Any],
    caller: Scope,
    run_id: bytes,
    name: str,
    parameters: bytes,
    upstream: Upstream,
    headers: Mapping[str, str],
) -> None:
    """Submit a run of a flow.

    Args:
        flow: The flow.
        caller: Where it is called.
        run_id: Its id.
        name: Its name.
        parameters: Its parameters as they are recorded; nothing where they are not.
        upstream: The runs that it depends on, all of which have ended.
        headers: Those of the run, and of what is called in it.
    """
    template = flow_template(flow)
    ordinal = caller.take_flow_ordinal(template.task_key)
    key = GroupKey(template, caller.flow_run_id, caller.caller_run_id, headers)
    group = RunGroup(key, ordinal)
    extra = offload(flow.name, parameters, (), caller.session) or pb.RunExtra()
    extra.name = name
    group.add(run_id, b"" if extra.HasField("args") else parameters, upstream, None, extra)
    caller.session.submit_group(group)
