"""By what ``taskyard run ls`` is told which runs are meant: its options, and what they stand for."""

from datetime import UTC, datetime
from enum import Enum
from typing import Annotated, Final

import typer

from taskyard.cli.moments import moment_us
from taskyard.cli.plain_help import at_least
from taskyard_contract.states import RunState, StateType, shown_as


class Kind(str, Enum):
    """What a list of runs can be narrowed to, in the words of ``--kind``."""

    FLOW = "flow"
    TASK = "task"


LimitOption = Annotated[int, typer.Option(callback=at_least(1), metavar="N", help="How many runs to list.")]
KindOption = Annotated[
    Kind | None, typer.Option(metavar="flow|task", help="Only flow runs, or only task runs.")
]
StateOption = Annotated[
    list[str],
    typer.Option(
        metavar="STATE", help="Only runs in this state, for example failed or notready. May be repeated."
    ),
]
FlowOption = Annotated[
    str, typer.Option(metavar="RUN", help="Only runs inside this flow run.", show_default=False)
]
NameOption = Annotated[
    str, typer.Option(metavar="TEXT", help="Only runs whose name contains this.", show_default=False)
]
TaskOption = Annotated[
    str, typer.Option(metavar="NAME", help="Only runs of the task or flow of this name.", show_default=False)
]
TagOption = Annotated[
    list[str],
    typer.Option(metavar="TAG", help="Only runs with this tag. May be repeated: with all of them."),
]
QueueOption = Annotated[
    str, typer.Option(metavar="NAME", help="Only runs of this queue.", show_default=False)
]
SinceOption = Annotated[
    str,
    typer.Option(
        metavar="TIME",
        help="Only runs submitted since: 90s, 30m, 2h, 3d or 1w ago, or 2026-01-31T08:00.",
        show_default=False,
    ),
]
OldestOption = Annotated[bool, typer.Option("--oldest", help="List the oldest first.")]
CountOption = Annotated[bool, typer.Option("--count", help="Only count them, by state.")]
AllOption = Annotated[
    bool, typer.Option("--all", help="Look for them among all runs, however long that takes.")
]


def _state_filter() -> dict[str, list[RunState]]:
    """Return which states each word stands for: a type, or the usual name of one state."""
    words: dict[str, list[RunState]] = {}
    for state in RunState:
        state_type, name = shown_as(state)
        for word in {state_type.value.lower(), name.lower()}:
            words.setdefault(word, []).append(state)
    return words


STATE_WORDS: Final = _state_filter()


def states_of(word: str) -> list[RunState]:
    """Return which states a word of ``--state`` stands for."""
    states = STATE_WORDS.get(word.lower())
    if states is None:
        types = ", ".join(kind.value.lower() for kind in StateType if kind is not StateType.PAUSED)
        raise typer.BadParameter(f"'{word}' is not a state; take one of {types}", param_hint="--state")
    return states


def since_us(text: str) -> int:
    """Return which moment ``--since`` stands for, 0 for none."""
    if not text:
        return 0
    try:
        return moment_us(text, datetime.now(UTC))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--since") from None
