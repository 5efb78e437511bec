"""The life of a worker as its agent sees it: one phase, and the table of what leads from one to the next.

    STARTING -> IDLE <-> BUSY -> ENDING -> GONE
                IDLE <-> RESTING -> RETIRING -> GONE

A worker is *starting* from the request to fork it until it says that it is ready. It is *idle* without and
*busy* with runs. One too many, because runs that waited for others go on, *rests*: it is kept a while for the
next run that waits, and then *retires*: its sockets are closed, and it leaves by itself. On account of one of
its runs (cancelled, over its timeout, ...) a busy worker is *ending*: signals are on their way, and whatever
it has goes elsewhere when its exit is confirmed. *Gone* means that: confirmed, and everything it sent was
read. A process can die at any moment, so EXITED leads from everywhere to GONE.

Two things are apart from the phase, because they cut across it: `blocked` (its run waits for other runs; only
busy and ending workers can be) and `deaf` (its end of the data socket is closed while the process goes on).

Every phase names every event. `Ignore` is for what a process may say late or twice, whatever user code does
in it; `Reject` is for what only a defect of the agent could do.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final


class WorkerPhase(IntEnum):
    """Where a worker is in its life. Ints, because the table is read once or twice for each chunk."""

    STARTING = 1
    IDLE = 2
    BUSY = 3
    RESTING = 4
    RETIRING = 5
    ENDING = 6
    GONE = 7


class WorkerEvent(IntEnum):
    """What takes a worker from one phase to the next, or has no meaning in it."""

    READY = 1
    """It has said that it takes work."""
    GIVEN = 2
    """It was given runs."""
    EMPTIED = 3
    """It has no runs any more: they are reported, or were taken back."""
    REST = 4
    """There is one too many."""
    WAKE = 5
    """There is one too few."""
    RETIRE = 6
    """Nobody has needed it for a while."""
    END = 7
    """It is ended on account of one of its runs."""
    EXITED = 8
    """Its process is gone, or the agent closes everything."""


@dataclass(frozen=True)
class Ignore:
    """The event changes nothing, and why."""

    why: str


@dataclass(frozen=True)
class Reject:
    """The event cannot happen unless the agent has a defect, and why."""

    why: str


class ImpossibleEvent(RuntimeError):
    """The agent wanted something of a worker that does not fit its phase."""


Cell = WorkerPhase | Ignore | Reject
P = WorkerPhase
E = WorkerEvent

SAID_BEFORE: Final = Ignore("it has said so before")
NOTHING_TO_TAKE: Final = Ignore("it had no runs")
NOT_READY: Final = Reject("it has not said that it is ready")
NO_RUNS: Final = Reject("it has no run on whose account it could end")
NOT_NEEDED: Final = Reject("it rests; it has to be woken first")
NOT_RESTING: Final = Reject("it does not rest")
HAS_RUNS: Final = Reject("it has runs")
LEAVING: Final = Reject("it is on its way out")
LATE: Final = Ignore("it is on its way out")
ALREADY: Final = Ignore("already so")
CONFIRMED: Final = Reject("its exit is confirmed")

TABLE: Final[Mapping[WorkerPhase, Mapping[WorkerEvent, Cell]]] = {
    P.STARTING: {
        E.READY: P.IDLE,
        E.GIVEN: NOT_READY,
        E.EMPTIED: NOTHING_TO_TAKE,
        E.REST: NOT_READY,
        E.WAKE: NOT_RESTING,
        E.RETIRE: NOT_READY,
        E.END: NO_RUNS,
        E.EXITED: P.GONE,
    },
    P.IDLE: {
        E.READY: SAID_BEFORE,
        E.GIVEN: P.BUSY,
        E.EMPTIED: NOTHING_TO_TAKE,
        E.REST: P.RESTING,
        E.WAKE: NOT_RESTING,
        # By way of resting, so that the next run that waits need not wait for a fork as well.
        E.RETIRE: NOT_RESTING,
        E.END: NO_RUNS,
        E.EXITED: P.GONE,
    },
    P.BUSY: {
        E.READY: SAID_BEFORE,
        E.GIVEN: P.BUSY,
        E.EMPTIED: P.IDLE,
        E.REST: HAS_RUNS,
        E.WAKE: NOT_RESTING,
        E.RETIRE: HAS_RUNS,
        E.END: P.ENDING,
        E.EXITED: P.GONE,
    },
    P.RESTING: {
        E.READY: SAID_BEFORE,
        E.GIVEN: NOT_NEEDED,
        E.EMPTIED: NOTHING_TO_TAKE,
        E.REST: ALREADY,
        E.WAKE: P.IDLE,
        E.RETIRE: P.RETIRING,
        E.END: NO_RUNS,
        E.EXITED: P.GONE,
    },
    P.RETIRING: {
        E.READY: LATE,
        E.GIVEN: LEAVING,
        E.EMPTIED: LATE,
        E.REST: LEAVING,
        # Its sockets are closed: it is replaced, not woken.
        E.WAKE: LEAVING,
        E.RETIRE: ALREADY,
        E.END: NO_RUNS,
        E.EXITED: P.GONE,
    },
    P.ENDING: {
        E.READY: LATE,
        E.GIVEN: LEAVING,
        # Its last reports may still come in, but the signals are on their way.
        E.EMPTIED: LATE,
        E.REST: LEAVING,
        E.WAKE: LEAVING,
        E.RETIRE: LEAVING,
        # The first account counts: a run that timed out is not cancelled afterwards.
        E.END: ALREADY,
        E.EXITED: P.GONE,
    },
    P.GONE: {
        E.READY: LATE,
        E.GIVEN: CONFIRMED,
        E.EMPTIED: LATE,
        E.REST: CONFIRMED,
        E.WAKE: CONFIRMED,
        E.RETIRE: CONFIRMED,
        E.END: ALREADY,
        E.EXITED: ALREADY,
    },
}

AT_WORK: Final = frozenset({P.STARTING, P.IDLE, P.BUSY})
"""Those that count for the size of the workforce; a blocked one has a substitute beside it."""
LEFT: Final = frozenset({P.RETIRING, P.ENDING, P.GONE})
"""Those from which nothing is to be expected any more."""


def after(phase: WorkerPhase, event: WorkerEvent) -> WorkerPhase:
    """Return the phase that follows.

    Raises:
        ImpossibleEvent: The table rejects it.
    """
    cell = TABLE[phase][event]
    if isinstance(cell, WorkerPhase):
        return cell
    if isinstance(cell, Ignore):
        return phase
    raise ImpossibleEvent(f"a worker that is {phase.name} cannot be told {event.name}: {cell.why}")
