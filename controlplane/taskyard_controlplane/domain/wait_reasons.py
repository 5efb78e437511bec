"""Reasons why runs are not executed yet, and the words for them. Pure.

A reason is a code, facts for programs and a text for people, which reads on after "waits: ". Each is made by
one function here, so that the same wait is told in the same words wherever it is told.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from taskyard_contract.states import WaitReason
from taskyard_controlplane.domain.matching import Lack, Mismatch

MOST_NAMED: Final = 5
"""Runs, agents or programs that a reason names: enough to see what they have in common."""


class RunName(NamedTuple):
    """A run, as far as another one's reason names it."""

    run_id: bytes
    name: str = ""
    """Empty when only the database knows."""
    state: int = 0
    """0 when only the database knows."""


class Others(NamedTuple):
    """Runs of one program, or of one flow run of it, among those that are in somebody's way."""

    runs: int
    name: str
    """Of the flow run, else of the session; empty for runs of nobody."""
    flow_run_id: bytes = b""
    own: bool = False
    """Whether they are of the program that waits."""
    takes_turns: bool = False
    """Whether they and the run that waits start in turn, and need not all start before it."""


class Reason(NamedTuple):
    """One reason to wait."""

    code: WaitReason
    text: str
    about: RunName | None = None
    """The run that has it, where that is one which another one waits for."""
    queue: str = ""
    priority: int = 0
    ahead: int = 0
    """How many runs certainly start before it."""
    whose: tuple[Others, ...] = ()
    executing: int = 0
    """How many of the runs that are waited for, or waited behind and of the same program, are executed."""
    runs: tuple[RunName, ...] = ()
    runs_left: int = 0
    due_us: int = 0
    agent: str = ""
    condition: str = ""
    missing: tuple[tuple[str, str], ...] = ()


class Explained(NamedTuple):
    """A run, and why it waits."""

    run: RunName
    reasons: tuple[Reason, ...] = ()


_LACKS: Final = {
    None: WaitReason.NO_AGENT,
    Mismatch.QUEUE: WaitReason.NO_AGENT_FOR_QUEUE,
    Mismatch.CODE: WaitReason.NO_AGENT_LOADS_CODE,
    Mismatch.ENCODING: WaitReason.NO_AGENT_KNOWS_ENCODING,
    Mismatch.LABELS: WaitReason.NO_AGENT_HAS_LABELS,
    Mismatch.TASK: WaitReason.NO_AGENT_HAS_TASK,
    Mismatch.PYTHON: WaitReason.NO_AGENT_HAS_PYTHON,
    Mismatch.ENVIRONMENT: WaitReason.NO_AGENT_HAS_ENVIRONMENT,
}


def no_agent(lack: Lack, queue: str) -> Reason:
    """No agent can execute it."""
    return Reason(_LACKS[lack.mismatch], lack.text, queue=queue, missing=lack.facts)


def upstream(left: int, executing: int, runs: Sequence[RunName]) -> Reason:
    """Runs it depends on are open."""
    what = "1 upstream run has" if left == 1 else f"{left:,} upstream runs have"
    text = f"{what} not ended{_names(left, runs)}"
    named = tuple(runs[:MOST_NAMED])
    return Reason(WaitReason.UPSTREAM, text, runs=named, runs_left=left, executing=executing)


def runs_inside(left: int, runs: Sequence[RunName]) -> Reason:
    """A flow run is executed, and nothing inside it is."""
    what = "1 run inside it is open and" if left == 1 else f"{left:,} runs inside it are open and none"
    text = f"{what} {'not ' if left == 1 else 'is '}executed{_names(left, runs)}"
    return Reason(WaitReason.RUNS_INSIDE, text, runs=tuple(runs[:MOST_NAMED]), runs_left=left)


def _names(left: int, runs: Sequence[RunName]) -> str:
    names = [f"'{run.name}'" for run in runs[:MOST_NAMED] if run.name]
    if not names:
        return ""
    return f": {', '.join(names)}{', ...' if left > len(names) else ''}"


def retry_delay(attempt: int, seconds: float | None, due_us: int) -> Reason:
    """An attempt failed, and the next one is due later; `seconds` from now, None when its program knows."""
    text = f"attempt {attempt} is due"
    text += " when its program starts it" if seconds is None else f" in {_seconds(seconds)}"
    return Reason(WaitReason.RETRY_DELAY, text, due_us=due_us)


def cache_leader(leader: RunName, executing: bool) -> Reason:
    """Another run computes the result of its key."""
    text = f"run '{leader.name}' computes the result of its cache key"
    return Reason(WaitReason.CACHE_LEADER, text, runs=(leader,), runs_left=1, executing=int(executing))


def world_away(queue: str, world: tuple[bytes, int]) -> Reason:
    """The program with the values of its variables has not come back."""
    text = "its program is not connected, and has variables that it needs"
    missing = (("world", f"{world[0].hex()}/{world[1]}"),)
    return Reason(WaitReason.PROGRAM_AWAY, text, queue=queue, missing=missing)


def program_away(name: str) -> Reason:
    """The program that executes a flow run is not connected."""
    text = f"its program{f' ({name})' if name else ''} is not connected; it ends with the lease of that"
    return Reason(WaitReason.PROGRAM_AWAY, text)


def program_starts(name: str) -> Reason:
    """The program that executes a flow run has not said that it has started."""
    text = f"its program{f' ({name})' if name else ''} executes it, and has not said that it has started"
    return Reason(WaitReason.PROGRAM_STARTS, text)


def agent_condition(agent: str, condition: str) -> Reason:
    """An agent takes no work."""
    text = f"agent '{agent}' takes no work: {condition}"
    return Reason(WaitReason.AGENT_CONDITION, text, agent=agent, condition=condition)


def agent_draining(agent: str) -> Reason:
    """An agent is about to leave."""
    return Reason(WaitReason.AGENT_DRAINING, f"agent '{agent}' drains and takes no more work", agent=agent)


def agent_away(agent: str, *, has_it: bool = False) -> Reason:
    """An agent cannot be reached at the moment."""
    text = f"agent '{agent}' is not connected at the moment"
    if has_it:
        text = f"agent '{agent}' has it and is not connected; others get it when the lease of that has lapsed"
    return Reason(WaitReason.AGENT_AWAY, text, agent=agent)


def agent_does_not_receive(agent: str) -> Reason:
    """What was sent to an agent last did not arrive."""
    text = f"agent '{agent}' did not receive what it was sent last, and is sent nothing for a moment"
    return Reason(WaitReason.AGENT_AWAY, text, agent=agent)


def agent_not_back(agent_id: str) -> Reason:
    """The agent that had it before a restart of the server has not come back yet."""
    text = f"the control plane was restarted, and agent '{agent_id}', which had it, has not come back yet"
    return Reason(WaitReason.AGENT_AWAY, text, agent=agent_id)


def agent_nested_only(agent: str) -> Reason:
    """So many runs wait on an agent that it starts only what they wait for."""
    text = f"agent '{agent}' starts only runs that others wait for: many wait there for runs of their own"
    return Reason(WaitReason.AGENT_NESTED_ONLY, text, agent=agent)


def agent_one_by_one(agent: str) -> Reason:
    """Coroutines of a program take slots on an agent, and it has enough of them."""
    text = f"agent '{agent}' executes async tasks of its program one by one, in slots, and has enough of them"
    return Reason(WaitReason.AGENT_NESTED_ONLY, text, agent=agent)


def agent_declined(agent: str) -> Reason:
    """An agent gave it back, and nobody else can have it."""
    text = f"agent '{agent}' gave it back, and gets it again after a moment"
    return Reason(WaitReason.AGENT_DECLINED, text, agent=agent)


def queued(queue: str, priority: int, whose: Sequence[Others], executing: int) -> Reason:
    """Others start before it, or take turns with it."""
    first = [others for others in whose if not others.takes_turns]
    turns = [others for others in whose if others.takes_turns]
    said = []
    if first:
        count = sum(others.runs for others in first)
        most = f", {first[0].runs:,} of them {_of(first[0])}" if len(first) > 1 else ""
        said.append(f"{_runs_of(count, first)} {'is' if count == 1 else 'are'} ahead{most}")
    if turns:
        count = sum(others.runs for others in turns)
        most = f", {turns[0].runs:,} of them {_of(turns[0])}" if len(turns) > 1 else ""
        said.append(f"it takes turns with {_runs_of(count, turns)}{most}")
    text, named = ", and ".join(said), tuple(whose[:MOST_NAMED])
    ahead = sum(others.runs for others in first)
    return Reason(
        WaitReason.QUEUED, text, queue=queue, priority=priority, ahead=ahead, whose=named, executing=executing
    )


def slots_taken(
    queue: str,
    priority: int,
    whose: Sequence[Others],
    executing: int,
    *,
    is_next: bool = True,
    apart: bool = False,
) -> Reason:
    """Nobody has room for it, whether or not it is the next.

    Args:
        queue: Its queue.
        priority: Its priority.
        whose: Who has the room.
        executing: How many of these are of the same program.
        is_next: Whether it is the next.
        apart: Whether it takes no slot, but room for async tasks.
    """
    taken = sum(others.runs for others in whose)
    room = "all room for async tasks is" if apart else "all slots for it are"
    text = f"{room} taken{f' by {_runs_of(taken, whose)}' if taken else ''}"
    if is_next:
        text = f"it is the next in queue '{queue}', and {text}"
    named = tuple(whose[:MOST_NAMED])
    return Reason(
        WaitReason.SLOTS_TAKEN, text, queue=queue, priority=priority, whose=named, executing=executing
    )


def backlog(queue: str, priority: int, count: int) -> Reason:
    """It is only in the database."""
    what = "it waits" if count <= 1 else f"it and {count - 1:,} others wait"
    text = f"{what} in the database until those before have started"
    return Reason(WaitReason.BACKLOG, text, queue=queue, priority=priority, runs_left=count)


def agent_has_it(
    agent: str,
    whose: Sequence[Others],
    executing: int,
    *,
    crowded: bool,
    free: bool,
    apart: bool = False,
) -> Reason:
    """An agent has it in hand.

    Args:
        agent: Its name.
        whose: What it executes.
        executing: How much of that is of the same program.
        crowded: Whether many runs wait on it for runs of their own.
        free: Whether it holds no more than it has slots, or room for async tasks.
        apart: Whether it takes no slot there, but such room.
    """
    if free:
        room = "room" if apart else "a slot"
        text = f"agent '{agent}' has it and {room} for it, and has not said that it has started"
    else:
        room = "there is room for async tasks" if apart else "a slot is free"
        text = f"agent '{agent}' has it and starts it when {room}"
    if crowded:
        text += "; many runs wait there for runs of their own, so few are started at a time"
    named = tuple(whose[:MOST_NAMED])
    return Reason(WaitReason.AGENT_HAS_IT, text, agent=agent, whose=named, executing=executing)


def delivery(agent: str) -> Reason:
    """What it carries is on its way."""
    text = f"its arguments, or results that it needs, are being read for agent '{agent}'"
    return Reason(WaitReason.DELIVERY, text, agent=agent)


def database(what: str) -> Reason:
    """The database has something to do first."""
    return Reason(WaitReason.DATABASE, what)


def overloaded() -> Reason:
    """The server could not take it."""
    return Reason(
        WaitReason.OVERLOADED, "the control plane had too much to do to take it; its program submits it again"
    )


def cancelling(agent: str) -> Reason:
    """Its process has not ended yet."""
    who = f"agent '{agent}' ends its process" if agent else "its program ends it"
    return Reason(WaitReason.CANCELLING, f"it is being cancelled: {who}", agent=agent)


def turn() -> Reason:
    """Nothing is in its way."""
    return Reason(WaitReason.TURN, "it is about to be given to an agent")


def _runs_of(count: int, whose: Sequence[Others]) -> str:
    runs = f"{count:,} {'run' if count == 1 else 'runs'}"
    return f"{runs} {_of(whose[0])}" if len(whose) == 1 else runs


def _of(others: Others) -> str:
    if others.own:
        return "of its own flow" if others.flow_run_id else "of its own program"
    if others.flow_run_id:
        return f"of flow '{others.name}'"
    return f"of program '{others.name}'" if others.name else "of no program"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:,.0f} s"
