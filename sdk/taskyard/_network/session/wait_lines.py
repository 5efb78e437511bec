"""Why runs wait -> what people are told of it: few lines, and none while all is in order. Pure.

In order is: something that is waited for executes, or waits behind runs of the same program of which some
execute. Then only those reasons are told that no patience would cure, because somebody has to do something:
nobody can execute the run, or those who could take no work. Runs with one reason are told of in one line.
"""

import logging
from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from taskyard_contract.states import FIRST_FINAL, WaitReason

if TYPE_CHECKING:
    from taskyard_api.v1.run_service_pb2 import Explanation, Wait

MOST_LINES: Final = 3
"""Different reasons that are told at a time, those of most runs first."""
OBSTACLES: Final = frozenset(
    {
        *range(WaitReason.PROGRAM_AWAY, WaitReason.AGENT_AWAY + 1),
        WaitReason.DATABASE,
        WaitReason.OVERLOADED,
    }
)
"""Reasons that something is wrong, or missing."""
_SAID: Final = frozenset({WaitReason.RETRY_DELAY})
"""Reasons that were said when they began: by the line of the attempt that failed."""
_OF_OTHERS: Final = frozenset({WaitReason.UPSTREAM, WaitReason.CACHE_LEADER, WaitReason.RUNS_INSIDE})
"""Reasons whose cause is that of another run."""


class WaitLine(NamedTuple):
    """What is to be told."""

    key: Hashable
    """The same for the same reason, whatever the numbers in it are."""
    level: int
    name: str
    """The run it is about; empty for several."""
    text: str
    is_said: bool = False
    """Whether another line has said it already, so that this one can only remind people."""


class _Told(NamedTuple):
    """The reason of a run that decides."""

    key: Hashable
    obstacle: bool
    text: str
    """The reason, after "waits: "."""
    is_said: bool = False
    for_whom: str = ""
    """The run whose reason that is, where it is another one."""


def lines_of(explanations: Sequence["Explanation"], waited_for: int) -> list[WaitLine]:
    """Return what to tell people about runs of which some were explained.

    Args:
        explanations: What the server said.
        waited_for: How many runs are waited for in all.
    """
    told = [(each.name, _told(each)) for each in explanations if each.waits or not each.state]
    moves = any(map(_moves, explanations))
    groups: dict[Hashable, list[tuple[str, _Told]]] = {}
    for name, one in told:
        if one.obstacle or not moves:
            groups.setdefault(one.key, []).append((name, one))
    largest = sorted(groups.values(), key=len, reverse=True)[:MOST_LINES]
    return [_line(group, len(explanations), waited_for) for group in largest]


def _moves(explanation: "Explanation") -> bool:
    """Whether a run, or something that it waits for, is executed, or has been."""
    if explanation.state >= FIRST_FINAL:
        return True
    if not explanation.waits:
        return bool(explanation.state)
    return any(wait.executing for wait in explanation.waits)


def _told(explanation: "Explanation") -> _Told:
    if not explanation.waits:
        return _Told("unsent", False, "it has not reached the control plane yet")
    decisive = _decisive(explanation.waits)
    about = decisive.about
    whom = f"'{about.name or about.run_id.hex()}'" if decisive.HasField("about") else ""
    is_said = int(decisive.reason) in _SAID
    return _Told(_key(explanation.waits, decisive), _is_obstacle(decisive), decisive.message, is_said, whom)


def _decisive(waits: Iterable["Wait"]) -> "Wait":
    """Return the wait that something is wrong with, else the first cause, which is not another run's end."""
    first, *others = waits
    for wait in (first, *others):
        if _is_obstacle(wait):
            return wait
    return next((wait for wait in (first, *others) if int(wait.reason) not in _OF_OTHERS), first)


def _is_obstacle(wait: "Wait") -> bool:
    return int(wait.reason) in OBSTACLES


def _key(waits: Iterable["Wait"], decisive: "Wait") -> Hashable:
    others = decisive.whose[0] if decisive.whose else None
    return (
        *(int(wait.reason) for wait in waits if not wait.HasField("about")),
        int(decisive.reason),
        decisive.queue,
        decisive.agent_name,
        decisive.agent_condition,
        tuple(sorted(decisive.missing.items())),
        (others.own or others.flow_run_id or others.name) if others is not None else "",
    )


def _line(group: Sequence[tuple[str, _Told]], asked: int, waited_for: int) -> WaitLine:
    name, told = group[0]
    level = logging.WARNING if told.obstacle else logging.INFO
    whom = f" for {told.for_whom}" if told.for_whom else ""
    count = len(group) * waited_for // asked
    if count == 1:
        text = f"{'' if name else 'a run '}waits{whom}: {told.text}"
        return WaitLine(told.key, level, name, text, told.is_said)
    if any(one.for_whom != told.for_whom for _, one in group):
        whom = f" for others, such as {told.for_whom}"
    about = "about " if len(group) < asked < waited_for else ""
    text = f"{about}{count:,} runs wait{whom}: {told.text}"
    return WaitLine(told.key, level, "", text, told.is_said)
