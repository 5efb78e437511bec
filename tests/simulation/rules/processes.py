"""Processes: nothing goes round, nothing breaks down, everything ends."""

from collections.abc import Iterator
from typing import Final

from simulation.rules.index import Index, rule

TRIES: Final = 40
"""Commits that fail within a second, at most: the pauses between them leave room for a third of it."""


@rule
def spin(index: Index) -> Iterator[str]:
    """Nothing goes round without waiting."""
    for event in index.kind("spin"):
        yield f"{event.who} went round at {event.at:.3f} without time passing"
    failed = [event.at for event in index.kind("commit_failed")]
    for first, last in zip(failed, failed[TRIES:], strict=False):
        if last - first < 1.0:
            yield f"{TRIES} commits were tried within {last - first:.3f} s at {first:.3f} and refused"
            return


@rule
def unhandled(index: Index) -> Iterator[str]:
    """Nothing is raised that nobody deals with."""
    for event in index.kind("unhandled"):
        yield f"{event.value}"


@rule
def fatal(index: Index) -> Iterator[str]:
    """No owner gives up."""
    for event in index.kind("fatal"):
        yield f"{event.who}: {event.value}"


@rule
def liveness(index: Index) -> Iterator[str]:
    """Everything ends once the world is whole."""
    for event in index.kind("open"):
        yield f"run {event.run} is still {event.value} under {event.epoch:x}"
    for event in index.kind("waiting"):
        yield f"{event.who} still waits for run {event.run}"
