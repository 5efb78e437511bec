"""What runs return, and why they do not."""

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
        if event.value[0] != NOT_READY or spec is None or spec.lost or spec.head:
            continue
        ends = [end.value[0] for each in spec.upstream for end in index.run("recorded", each)]
        if len(ends) == len(spec.upstream) and all(state == COMPLETED for state in ends):
            yield f"run {event.run} was not started though all of its upstream runs have completed"
