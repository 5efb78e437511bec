"""Admission: what can make a run wait before it stands in a queue, in the order in which it is asked.

Theory of operation. A run on its way into a queue passes a row of gates, `GATES`. The first one with a reason
to stop it decides the state it waits in; the event that opens that gate leads it to the next one that stops
it, and behind the last one it is READY. So there is one line of gates and one door, whichever way a run came:

- it was submitted, or read back from the backlog or after a restart: `machine.admit` takes all its reasons at
  once, as `waits_of` finds them, and `first_gate` looks the answer up in a table of every combination;
- it has waited, or was tried before: the cells of the transition table that lead to READY are made by
  `entrance`, which asks the gates that lie behind the event.

The order is not free. Upstream comes first, because nothing else is worth deciding for a run that never
starts. The start time comes before the cache, because a result that is found early may be stale by then. The
cache comes before all that hands out something scarce, because a hit needs nothing of it. What limits how
many runs execute, and what pauses a queue, comes last: whoever holds a place there is about to execute.

Reasons are facts about a run when it comes to the gates, not fields of its record: only upstream edges, a
cache key and the executor are known then, and each has another home (the edges, the key, the template). That
a run passes each gate once per life, or once per attempt, is written in the entrances that name it.

A new reason to wait is: a bit in `Wait`, a line in `GATES` with a state from the reserved numbers, and either
a term in `waits_of` or, if every run that comes back has to ask again, its bit in `ALWAYS_ASKED`.
"""

from collections.abc import Callable
from enum import IntFlag
from typing import Final, NamedTuple

from taskyard_contract.states import RunState
from taskyard_controlplane.domain.cells import Cell, Choice, Go
from taskyard_controlplane.domain.effects import Effect
from taskyard_controlplane.domain.events import RunEvent
from taskyard_controlplane.domain.model import SESSION, Run, Template
from taskyard_controlplane.domain.retries import retries_later


class Wait(IntFlag):
    """A reason to wait. One bit each, so that what is known of a run is a small number."""

    NOTHING = 0
    SESSION = 1
    """Its session executes it, and starts it when it likes: it never stands in a queue."""
    UPSTREAM = 2
    """Runs it depends on are open."""
    START_TIME = 4
    """It is not due yet."""
    CACHE = 8
    """It has a cache key whose fate is open."""


def needs_cache_decision(run: Run) -> bool:
    """Whether a cache key is known whose fate has not been decided."""
    return run.cache_key is not None and not run.cache_decided and not run.template.refresh_cache


class Gate(NamedTuple):
    """A place where runs wait for one reason."""

    reason: Wait
    state: RunState
    """The state of a run that waits here."""
    effects: Effect
    """What the owner does for a run that has come to wait here."""
    opened_by: RunEvent
    """What lets it on."""
    stops: Callable[[Run], bool] | None = None
    """Whether a run that has an attempt or a wait behind it is stopped here. None where such a run never
    comes again: then only `waits_of` knows the reason."""
    in_backlog: bool = False
    """Whether it is early enough to ask when a run comes back from the backlog, so that a run with this
    reason needs no record in memory until then."""


GATES: Final = (
    Gate(Wait.SESSION, RunState.PENDING, Effect.NONE, RunEvent.STARTED),
    Gate(Wait.UPSTREAM, RunState.PENDING, Effect.CONNECT_UPSTREAM, RunEvent.UPSTREAM_DONE),
    Gate(Wait.START_TIME, RunState.AWAITING_RETRY, Effect.SET_RETRY_TIMER, RunEvent.DUE, retries_later),
    Gate(
        Wait.CACHE,
        RunState.AWAITING_CACHE,
        Effect.LOOK_UP_CACHE,
        RunEvent.CACHE_LEADS,
        needs_cache_decision,
        in_backlog=True,
    ),
)
"""The gates in their order, as the theory above gives reasons for."""

QUEUE: Final = Gate(Wait.NOTHING, RunState.READY, Effect.ENQUEUE, RunEvent.DISPATCHED)
"""Behind the last gate."""

ALWAYS_ASKED: Final = Wait.NOTHING
"""Reasons that hold for an attempt and not for a run, so that every entrance asks for them: none yet."""

_BY_REASON: Final = {gate.reason: gate for gate in GATES}
_IN_BACKLOG: Final = int(sum(gate.reason for gate in GATES if gate.in_backlog))


def _first_gate(waits: int) -> Gate:
    return next((gate for gate in GATES if gate.reason & waits), QUEUE)


FIRST: Final = [_first_gate(waits) for waits in range(2 * max(gate.reason for gate in GATES))]
"""By every combination of reasons: where a run that has them is stopped first."""


def first_gate(waits: int) -> Gate:
    """Return where a run with these reasons to wait is stopped first; `QUEUE` with none."""
    return FIRST[waits]


# Plain ints: an operation on members of an enum costs half a microsecond, and runs come by the thousand.
_SESSION, _UPSTREAM, _START_TIME, _CACHE = (
    int(wait) for wait in (Wait.SESSION, Wait.UPSTREAM, Wait.START_TIME, Wait.CACHE)
)


def waits_of_template(template: Template) -> int:
    """Return the reasons to wait that every run of a template has. With 0, a run that has no edges and no
    key of its own has no reason at all, and nobody needs to ask it: that is what keeps plain runs cheap.
    """
    return _SESSION if template.executor == SESSION else 0


def waits_of(run: Run, *, upstream: bool = False, later: bool = False) -> int:
    """Return all reasons a run has to wait.

    Args:
        run: A run that is new, or was read back.
        upstream: Whether runs it depends on may be open.
        later: Whether it is not due yet.
    """
    waits = _SESSION if run.template.executor == SESSION else 0
    if upstream:
        waits |= _UPSTREAM
    if later:
        waits |= _START_TIME
    if needs_cache_decision(run):
        waits |= _CACHE
    return waits


def waits_in_backlog(waits: int) -> bool:
    """Whether a run with these reasons can do without a record in memory until its turn comes."""
    return not waits & ~_IN_BACKLOG


def waiting(reason: Wait, effects: Effect = Effect.NONE) -> Go:
    """Return the cell that lets a run wait for one reason."""
    gate = _BY_REASON[reason]
    return Go(gate.state, effects | gate.effects)


def entrance(asked: Wait = Wait.NOTHING, effects: Effect = Effect.NONE) -> Cell:
    """Return the cell that leads a run towards its queue.

    Args:
        asked: The gates that lie behind the event and concern the run.
        effects: What follows from the event, wherever it leads.
    """
    cell: Cell = Go(QUEUE.state, effects | QUEUE.effects)
    for gate in reversed(GATES):
        if gate.stops is not None and gate.reason & (asked | ALWAYS_ASKED):
            cell = Choice(gate.stops, waiting(gate.reason, effects), cell)
    return cell
