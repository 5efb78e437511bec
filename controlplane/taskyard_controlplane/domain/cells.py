"""What a cell of a transition table holds."""

from collections.abc import Callable
from typing import NamedTuple

from taskyard_contract.states import RunState
from taskyard_controlplane.domain.effects import Effect
from taskyard_controlplane.domain.model import Run


class Go(NamedTuple):
    """Enter a state, with consequences."""

    state: RunState
    effects: Effect = Effect.NONE


class Ignore(NamedTuple):
    """Change nothing: the event came late, twice, or does not concern this state."""

    why: str


class Reject(NamedTuple):
    """Change nothing: the event cannot happen here, so its sender has a defect."""

    why: str


class Choice(NamedTuple):
    """Let a named guard choose between two cells."""

    guard: Callable[[Run], bool]
    yes: "Cell"
    no: "Cell"


Cell = Go | Ignore | Reject | Choice
Row = dict[int, Cell]
Table = dict[RunState, Row]


def leaves(cell: Cell) -> list[Go | Ignore | Reject]:
    """Return every outcome a cell can have."""
    if isinstance(cell, Choice):
        return leaves(cell.yes) + leaves(cell.no)
    return [cell]
