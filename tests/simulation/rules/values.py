"""What runs return, and what they log."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from simulation.rules.index import COMPLETED, Index, rule

NOT_READY: Final = 14


@rule
def results_are_right(index: Index) -> Iterator[str]:
    """What completed returned what it should."""
    for event in index.kind("recorded"):
        spec = index.specs.get(event.run)
        if event.value[0] == COMPLETED and spec is not None and spec.returns not in (None, event.value[4]):
            yield f"run {event.run} returned {event.value[4]!r} and should have returned {spec.returns!r}"


@rule
def not_ready_by_upstream(index: Index) -> Iterator[str]:
    """A run that never starts has an upstream run that did not complete."""
    for event in index.kind("recorded"):
        spec = index.specs.get(event.run)
        if event.value[0] != NOT_READY or spec is None:
            continue
        ends = [end.value[0] for each in spec.upstream for end in index.run("recorded", each)]
        if len(ends) == len(spec.upstream) and all(state == COMPLETED for state in ends):
            yield f"run {event.run} was not started though all of its upstream runs have completed"


@rule
def logged_once(index: Index) -> Iterator[str]:
    """A log record is kept once, and comes from somebody. Each text is unique."""
    said = {event.value for event in index.kind("logged")}
    for text, count in Counter(event.value for event in index.kind("log_recorded")).items():
        if count > 1:
            yield f"the log record {text!r} is there {count} times"
        if text not in said:
            yield f"nobody has logged {text!r}"


@rule
def logs_are_complete(index: Index) -> Iterator[str]:
    """Of a run that completed everything is kept that was logged by the execution that counted."""
    kept = {event.value for event in index.kind("log_recorded")}
    for event in index.kind("recorded"):
        said: dict[str, list[str]] = {}
        for each in index.run("logged", event.run):
            if each.epoch == event.epoch and event.value[0] == COMPLETED:
                said.setdefault(each.who, []).append(each.value)
        # Of several processes under one epoch those have died that were not the last.
        lacking = min(
            ([text for text in texts if text not in kept] for texts in said.values()), key=len, default=[]
        )
        if lacking:
            yield f"run {event.run} completed, and {len(lacking)} of its log records are lost: {lacking[0]!r}"
