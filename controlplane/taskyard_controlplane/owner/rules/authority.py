"""Who may say what about a run: whoever has it in hand reports about it, whoever owns it ends it.

Ids and epochs are no secrets: they are listed, logged, and easily guessed. So that somebody names them is no
reason to believe him. Everything here is asked where a peer speaks about a run, whatever the frame it does it
in; what is said without authority changes nothing, and is counted like what is said too late.

A run that an earlier owner had assigned is in nobody's hands until its agent has said that it still holds it.
Which agent that is the recorded dispatch says. Of later assignments, which that owner did not live to record,
nothing is known. Whoever has got one must be believed, or what it executes would be executed twice; but to
nobody's word belongs more than cannot be known otherwise. So of what is not recorded an agent is believed

- for the length of a lease (`Succession`): whoever has not restated by then what it holds has stopped it;
- an epoch of an earlier owner, above all that are recorded of the run: this owner knows what it has assigned;
- about runs that owner may have assigned: not those that this one has made, or assigned anew, nor those which
  recovery finds waiting for something (`recovery`), nor those with a cache key, which are sent recorded;
- if this owner would give it the run as well.

That its epoch is right proves nothing more. Even a recorded assignment may be outdated by one that is not,
because what is given back is assigned anew without a record; so of two that are restated the later counts.
"""

from typing import Final, NamedTuple

from taskyard_contract.errors import InvalidRequest, PermissionDenied, RunNotFound, TaskyardError
from taskyard_contract.ids import format_id
from taskyard_contract.states import RunKind
from taskyard_controlplane.domain.machine import accepts_epoch, may_be_assigned
from taskyard_controlplane.domain.matching import matches
from taskyard_controlplane.domain.model import Run, Submitter
from taskyard_controlplane.domain.succession import Succession
from taskyard_controlplane.owner.peers.agent_session import AgentSession

MOMENT_US: Final = 60 * 1_000_000
"""For how long a task run that has ended may add to its flow run: a stream that broke is back by then, and
sends once more what was under way."""


def may_report(agent: AgentSession, run: Run, epoch: int, succession: Succession) -> bool:
    """Whether an agent speaks for a run under an epoch.

    Args:
        agent: Who speaks.
        run: About what.
        epoch: Under which assignment.
        succession: What this owner knows of assignments by itself.
    """
    if not accepts_epoch(run, epoch, succession.believed_below):
        return False
    if run.agent is agent:
        return True
    if epoch == run.epoch and (run.agent is not None or run.last_agent is not None):
        return run.agent is None and _had_it_last(agent, run)
    return matches(run.template.need, agent.offer)


def may_log(agent: AgentSession, run: Run, succession: Succession) -> bool:
    """Whether log records of a run are taken from an agent: it has it, or had it last, or may have it."""
    if run.agent is not None:
        return run.agent is agent
    if run.last_agent is not None:
        return _had_it_last(agent, run)
    return may_be_assigned(run, succession.believed_below) and matches(run.template.need, agent.offer)


def _had_it_last(agent: AgentSession, run: Run) -> bool:
    return run.last_agent is not None and run.last_agent.agent_id == agent.agent_id


def owns(session: Submitter, run: Run) -> bool:
    """Whether a run belongs to a session, which submitted it."""
    return run.owned and run.session is not None and run.session.session_id == session.session_id


def may_end(session: Submitter, run: Run) -> bool:
    """Whether a session may end a run: its own, one inside its flow run, or one that belongs to nobody."""
    return not run.owned or owns(session, run) or (run.flow is not None and owns(session, run.flow))


def may_end_queued(session: Submitter, owner_id: bytes | None, flow: Run | None) -> bool:
    """Whether a session may end a run of which there is only a row: what `may_end` says of its record.

    Args:
        session: Who asks for it.
        owner_id: The session that submitted the run, if one did.
        flow: The flow run it is in, if that is open.
    """
    return owner_id in (None, b"", session.session_id) or (flow is not None and owns(session, flow))


class Place(NamedTuple):
    """Where a run stands that makes calls."""

    flow_seq: int
    """The number of the flow run it is in, 0 for none."""
    long_ended: bool = False
    """Whether it has ended, and that long ago."""


def refusal_into(
    session: Submitter, flow_run_id: bytes, flow: Run | None, caller: Place | None
) -> TaskyardError | None:
    """Say why a session may not add runs to a flow run; None when it may.

    A flow run takes runs of the session it belongs to, of sessions that were opened in its name, and those
    that its task runs submit: until these end, and for a moment longer, because what they have begun, or
    sent, may not have arrived.

    Args:
        session: Who submits.
        flow_run_id: The flow run.
        flow: Its record, if it is open.
        caller: The place of the run that makes the call, or that the session was opened in, if it is known.
    """
    if flow is None:
        return RunNotFound(
            f"flow run {format_id(flow_run_id)} has ended or was never submitted; "
            "no further runs can be added to it",
            run_id=flow_run_id,
        )
    if int(flow.template.kind) != RunKind.FLOW:
        return InvalidRequest(
            f"run '{flow.shown_name}' is no flow run; runs are added to the flow run that a task run is in",
            field="submit.groups.flow_run_id",
        )
    if owns(session, flow):
        return None
    inside = caller is not None and caller.flow_seq == flow.seq
    if caller is not None and inside and caller.long_ended:
        return PermissionDenied(
            f"the task run that submits to flow run '{flow.shown_name}' ended more than "
            f"{MOMENT_US // 1_000_000} seconds ago; submit while it runs, and wait in it for what goes on",
            run_id=flow_run_id,
        )
    if inside:
        return None
    return PermissionDenied(
        f"flow run '{flow.shown_name}' belongs to another session; only that one, and the tasks inside it, "
        "can add runs to it",
        run_id=flow_run_id,
    )
