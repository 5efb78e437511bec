"""What counts against a run, and what does not."""

from collections.abc import Iterator
from typing import Final

from simulation.history import Event
from simulation.rules.index import CRASHED, FAILED, Index, rule

BY_INFRASTRUCTURE: Final = (3, 4)
"""Reasons: the worker died, the agent was lost."""
ENDED_BY_AGENT: Final = (2, 13)
"""Reasons: the attempt took too long, too many runs waited for others."""
CODE_UNAVAILABLE: Final = 8
RECORDED_LATER: Final = 1.0
"""Seconds after which an assignment is recorded, at most; its agent may have it before that."""


@rule
def infra_retries_were_given(index: Index) -> Iterator[str]:
    """An attempt counts as lost only if a process was given it, or its agent cannot be asked any more.

    What a process was just being given when it was ended, nobody but its agent knows. So each process that
    was ended accounts for one attempt of which nothing else is known.
    """
    if not index.kind("given"):
        return
    dead = {event.who: event.at for event in index.kind("died")}
    struck = [(event, [0]) for event in index.kind("struck")]
    before: dict[str, int] = {}
    for event in sorted(index.kind("event", "recorded"), key=lambda each: each.at):
        state, reason, _, infra = event.value[:4]
        if reason not in BY_INFRASTRUCTURE:
            continue
        counted = infra > before.get(event.run, 0) or state == CRASHED
        before[event.run] = infra
        if counted and not _given(index, event, dead) and not _accounted(index, event, struck):
            yield f"run {event.run} lost its attempt under epoch {event.epoch:x}, which no process was given"


def _given(index: Index, event: Event, dead: dict[str, float]) -> bool:
    if any(each.epoch == event.epoch and each.at <= event.at for each in index.run("given", event.run)):
        return True
    agents = [each.who for each in index.run("dispatched", event.run) if each.epoch == event.epoch]
    return any(dead.get(agent, event.at + 1) <= event.at for agent in agents)


def _accounted(index: Index, event: Event, struck: list[tuple[Event, list[int]]]) -> bool:
    """Whether a process was ended while its agent had the attempt, and accounts for no other one yet."""
    dispatched = [each for each in index.run("dispatched", event.run) if each.epoch == event.epoch]
    assigned = {each.who: each.at - RECORDED_LATER for each in reversed(dispatched)}
    for strike, used in struck:
        if assigned.get(strike.who, strike.at + 1) <= strike.at <= event.at and used[0] < strike.value:
            used[0] += 1
            return True
    return False


@rule
def failures_count_once(index: Index) -> Iterator[str]:
    """A task fails for good only after as many failed executions as it may have."""
    if not index.kind("given"):
        return
    for event in index.kind("recorded"):
        spec = index.specs.get(event.run)
        if spec is None or event.value[0] != FAILED or spec.is_flow:
            continue
        failed = {each.epoch for each in index.run("ended", event.run) if each.value == "failed"}
        failed |= {each.epoch for each in index.run("event", event.run) if each.value[1] in ENDED_BY_AGENT}
        if event.value[1] == 0 and len(failed) < min(spec.max_retries + 1, max(spec.failures, 1)):
            yield f"run {event.run} failed for good after {len(failed)} failures of {spec.max_retries + 1}"
        elif event.value[1] == 0 and spec.failures <= spec.max_retries and len(failed) <= spec.max_retries:
            yield f"run {event.run} failed for good, and its attempt {spec.failures + 1} would have succeeded"


@rule
def code_is_there(index: Index) -> Iterator[str]:
    """Whoever is given a run gets its code."""
    for event in index.kind("recorded"):
        if event.value[1] == CODE_UNAVAILABLE:
            yield f"run {event.run} failed because its code was not there"


@rule
def crashed_after_enough(index: Index) -> Iterator[str]:
    """The infrastructure ends a run only after as many executions as it may lose."""
    if not index.kind("given"):
        return
    dead = {event.who for event in index.kind("died")}
    for event in index.kind("recorded"):
        spec = index.specs.get(event.run)
        if (
            spec is None
            or spec.is_flow
            or event.value[0] != CRASHED
            or event.value[1] not in BY_INFRASTRUCTURE
        ):
            continue
        epochs = {each.epoch for each in index.run("given", event.run)}
        epochs |= {each.epoch for each in index.run("dispatched", event.run) if each.who in dead}
        if len(epochs) < spec.max_infra_retries + 1:
            yield f"run {event.run} crashed after {len(epochs)} executions of {spec.max_infra_retries + 1}"
