"""What happened, as one list of events: all that the checker knows.

The simulation writes it while it plays; for real runs it is put together from logs and SQL. Times are seconds
on one clock. Runs, sessions and agents are named by strings.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class Event(NamedTuple):
    """Something that happened."""

    at: float
    kind: str
    run: str = ""
    epoch: int = 0
    who: str = ""
    value: Any = None


KINDS: Mapping[str, str] = {
    "submitted": "a client submitted a run; value: its `Spec`",
    "acknowledged": "a client was told that a run is durable",
    "refused": "a client was told that a run was not taken; value: (reason, why)",
    "accepted": "a call that submits a run was answered: it is durable; value: which arguments it had",
    "repeated": "a run was submitted again; value: (its arguments were equal, why it was refused, 0 for not)",
    "cancel_requested": "somebody asked for a run's end",
    "cancel_acknowledged": "the request is durable; value: the state at that moment",
    "told": "a client was told how a run ended; value: (state, result)",
    "given": "a process began to execute a run; value: (attempt, inputs)",
    "ended": "a process finished a run; value: 'succeeded', 'failed', or 'keyed': it has told its cache key",
    "logged": "a process logged something in a run; value: the text, of which there is no other one",
    "inserted": "a run was recorded; value: (its caller, its session), empty for none",
    "dispatched": "an assignment was recorded; who: the agent's session",
    "disowned": "an agent said in time that it holds a run, and is to drop it; nobody else had it since",
    "event": "an exception was recorded; value: (state, reason, attempt, infra_retries)",
    "recorded": "an end was recorded; value: (state, reason, attempt, infra_retries, result)",
    "log_recorded": "a log record is in the database; value: the text",
    "said": "a line of the control plane's own is in the log of a run; value: the text",
    "final": "what the database says at the end; value: (state, result)",
    "listed": "the database lists a run at the end among those that ended badly; value: its state there",
    "died": "a process was killed; who: which, for agents their session",
    "struck": "processes of an agent were ended; who: its session; value: how many",
    "away": "a peer could not be heard for longer than its lease",
    "peer_ended": "a peer was ended by an error; value: (error, others took its place)",
    "ghost": "the owner takes a run for held by an agent which does not hold it; value: since when",
    "stray": "an agent holds a run of which the owner does not know that; value: since when",
    "starved": "a run is ready and an agent that could take it has credit; value: since when",
    "crowded": "an agent had more processes than it may; value: (processes, allowed)",
    "executing": "a process was executing a run when everything should have come to rest",
    "leaderless": "a run waits for an equal one, and there is none; value: since when",
    "logs_dropped": "somebody said that log records were given up; value: how many",
    "overdrawn": "an agent was sent more runs than it had ever asked for; value: (sent, granted)",
    "late_commit": "an owner committed after another had taken over; value: (its generation, the other's)",
    "commit_failed": "the database refused a commit; who: the server",
    "spin": "a process went round without time passing",
    "unhandled": "an exception that nobody handled; value: its text",
    "fatal": "an owner gave up; value: why",
    "terms": "what the installation promises; value: its `Terms`",
    "whole": "from here on nothing goes wrong",
    "open": "a run had not ended when everything should have come to rest; value: its state",
    "waiting": "a client still waited for a run when everything should have come to rest",
}


class Terms(NamedTuple):
    """Times and ceilings of an installation."""

    lease: float
    """Seconds."""
    most_waiting: int
    """Runs of one agent that may wait for runs they have submitted, and have substitutes."""


class Spec(NamedTuple):
    """A run as it was submitted."""

    upstream: tuple[str, ...] = ()
    max_retries: int = 0
    max_infra_retries: int = 3
    flow: str = ""
    failures: int = 0
    """How many of its attempts fail before one succeeds."""
    is_flow: bool = False
    client: str = ""
    """The session that submitted it."""
    returns: Any = None
    """What it returns when it completes; None if that is not known."""
    cache_key: str = ""
    caller: str = ""
    """The run that called it, if one did."""
    calls: int = 0
    """How many runs it calls, those included that these call."""
    refresh: bool = False
    """Whether it is executed whatever the cache has."""
    expires: float = 0.0
    """Seconds for which its result is used; 0 for ever."""
    lost: str = ""
    """The flow run that it waits for not to complete."""
    head: str = ""
    """The run that has to complete before it: it undoes something, and belongs to nobody."""
    may_come: tuple[str, ...] = ()
    """Runs that it waits for, in case that they are submitted."""


class History:
    """The events in order."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)

    def of(self, *kinds: str) -> list[Event]:
        """Return the events of some kinds, in order."""
        return [event for event in self.events if event.kind in kinds]
