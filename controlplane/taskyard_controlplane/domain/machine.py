"""Applies the transition tables: the one place that changes the state of a run.

`transition` follows the tables. Where there is no event to follow, because a run's life begins (`admit`), is
read back (`restore`), turns out to never have been recorded (`annul`) or goes where no record can follow
(`give_up`), the owner says so here: nobody else assigns a state, so that a search for how a run came into one
ends in this file.

The tables are compiled to lists indexed by plain ints, because a lookup happens several times for each of
fifty thousand runs a second.
"""

from collections.abc import Callable
from typing import Final

from taskyard_contract.states import FIRST_FINAL, RunKind, RunState
from taskyard_controlplane.domain import flow_machine, task_machine
from taskyard_controlplane.domain.admission import FIRST
from taskyard_controlplane.domain.cells import Cell, Choice, Go, Table
from taskyard_controlplane.domain.effects import Effect
from taskyard_controlplane.domain.events import EVENT_COUNT, RunEvent
from taskyard_controlplane.domain.model import HELD, Run

_STATE_LIMIT: Final = max(RunState) + 1
"""Compiled tables are lists by state, with a place for numbers that name none."""
_NEXT_ATTEMPT: Final = int(Effect.NEXT_ATTEMPT)
_INFRA_RETRY: Final = int(Effect.INFRA_RETRY)
_STRIKE: Final = int(Effect.STRIKE)

_Step = tuple[int, int]
_Compiled = _Step | Callable[[Run], "_Compiled | None"] | None


def _compile_cell(cell: Cell) -> _Compiled:
    if isinstance(cell, Go):
        return int(cell.state), int(cell.effects | Effect.ACCEPTED)
    if isinstance(cell, Choice):
        guard, yes, no = cell.guard, _compile_cell(cell.yes), _compile_cell(cell.no)
        return lambda run: yes if guard(run) else no
    return None


def _compile(table: Table) -> list[_Compiled]:
    flat: list[_Compiled] = [None] * (_STATE_LIMIT * EVENT_COUNT)
    for state, row in table.items():
        for event in RunEvent:
            flat[state * EVENT_COUNT + event] = _compile_cell(row[event])
    return flat


TABLES: Final[dict[int, Table]] = {RunKind.TASK: task_machine.TABLE, RunKind.FLOW: flow_machine.TABLE}
_COMPILED: Final[dict[int, list[_Compiled]]] = {kind: _compile(table) for kind, table in TABLES.items()}
_CRASHED: Final[dict[int, _Step]] = {
    kind: (int(cell.state), int(cell.effects | Effect.ACCEPTED))
    for kind, cell in ((RunKind.TASK, task_machine.CRASHED), (RunKind.FLOW, flow_machine.ABANDONED))
}
_ENTRIES: Final = [(int(gate.state), int(gate.effects | Effect.ACCEPTED)) for gate in FIRST]


def transition(run: Run, event: int) -> int:
    """Apply an event to a run.

    Returns:
        The effects as an int, with `Effect.ACCEPTED` set; 0 when the event changed nothing.
    """
    step = _COMPILED[run.template.kind][run.state * EVENT_COUNT + event]
    while step is not None and not isinstance(step, tuple):
        step = step(run)
    if step is None:
        return 0
    run.state, effects = step
    if effects & _NEXT_ATTEMPT:
        run.attempt += 1
    if effects & _INFRA_RETRY:
        run.infra_retries += 1
    if effects & _STRIKE:
        run.strikes += 1
    return effects


def admit(run: Run, waits: int) -> int:
    """Bring a run that is new, or was read back, before the gates with all its reasons to wait.

    Returns:
        The effects as an int: what has to be done for the run where it stands now.
    """
    run.state, effects = _ENTRIES[waits]
    return effects


def restore(run: Run, state: int) -> None:
    """Give a run that was read back the state its history, or what follows from it, says it is in."""
    run.state = state


def annul(run: Run) -> None:
    """End the record of a run that was never written: whoever still has it in hand finds it ended."""
    run.state = int(RunState.CANCELLED)


def give_up(run: Run) -> int:
    """Crash a run whose last transition cannot be recorded: that never happened, and nothing else can.

    Returns:
        The effects as an int, `Effect.RECORD_END` among them.
    """
    run.state, effects = _CRASHED[run.template.kind]
    return effects


def accepts_epoch(run: Run, epoch: int, believed_below: int) -> bool:
    """Whether a report under `epoch` speaks for the run; `believed_below` is that of the `Succession`.

    It does when it names the epoch the run was last assigned under, and nothing has been decided about that
    attempt: what was reported, counted as lost or given back closes its epoch, so that a report which is
    repeated, because its acknowledgement was lost, does not speak for the attempt after it.

    After an owner change the last assignment may not have been recorded: then any later one of an earlier
    owner does.
    """
    if run.epoch == epoch:
        return run.state in HELD
    return run.epoch < epoch < believed_below and may_be_assigned(run, believed_below)


def may_be_assigned(run: Run, believed_below: int) -> bool:
    """Whether an earlier owner may have assigned a run without a record of it.

    Not after this owner has assigned it anew, or knew otherwise that it was not: then its epoch says so. And
    not with a cache key: such runs are sent when it is recorded.
    """
    return run.epoch < believed_below and run.cache_key is None and run.state < FIRST_FINAL
