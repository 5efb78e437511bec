"""Explanations as messages. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any, cast

from taskyard_api.v1 import run_service_pb2 as pb
from taskyard_contract.wire_text import bounded
from taskyard_controlplane.domain.wait_reasons import Explained, Reason, RunName

Names = Mapping[bytes, RunName]
"""What the database has of runs that the owner knew only by their ids."""


def unnamed(explained: Iterable[Explained]) -> list[bytes]:
    """Return the runs that reasons name by nothing but their ids, each once."""
    named = (run for each in explained for reason in each.reasons for run in reason.runs)
    return list(dict.fromkeys(run.run_id for run in named if not run.name))


def explanation(explained: Explained, names: Names) -> pb.Explanation:
    """Write why a run waits."""
    run, reasons = explained
    waits = [_wait(reason, names) for reason in reasons]
    return pb.Explanation(run_id=run.run_id, state=cast(Any, run.state), name=run.name, waits=waits)


def _wait(reason: Reason, names: Names) -> pb.Wait:
    message = pb.Wait(
        reason=cast(Any, int(reason.code)),
        message=bounded(reason.text),
        queue=reason.queue,
        priority=reason.priority,
        ahead=reason.ahead,
        executing=reason.executing,
        runs=[_ref(names.get(run.run_id, run)) for run in reason.runs],
        runs_left=reason.runs_left,
        due_us=reason.due_us,
        agent_name=reason.agent,
        agent_condition=reason.condition,
        missing=dict(reason.missing),
    )
    for others in reason.whose:
        message.whose.add(
            runs=others.runs,
            flow_run_id=others.flow_run_id,
            name=others.name,
            own=others.own,
            takes_turns=others.takes_turns,
        )
    if reason.about is not None:
        message.about.CopyFrom(_ref(reason.about))
    return message


def _ref(run: RunName) -> pb.RunRef:
    return pb.RunRef(run_id=run.run_id, name=run.name, state=cast(Any, run.state))
