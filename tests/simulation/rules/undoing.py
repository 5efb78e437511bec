"""Runs that undo what others did, if the flow run of these is lost."""

from collections.abc import Iterator

from simulation.rules.index import COMPLETED, Index, rule
from simulation.rules.values import NOT_READY


@rule
def what_is_not_lost_is_not_undone(index: Index) -> Iterator[str]:
    """Undoing begins when a flow run has ended otherwise than by completing, and then it does."""
    for run, spec in index.specs.items():
        before = spec.lost or spec.head
        if not before:
            continue
        ends = index.run("recorded", before)
        goes_on = bool(ends) and (ends[0].value[0] == COMPLETED) == bool(spec.head)
        for event in index.run("given", run):
            if not goes_on or ends[0].at > event.at:
                yield f"run {run} began, and {before} had not ended as it has to"
        if goes_on and any(event.value[0] == NOT_READY for event in index.run("recorded", run)):
            yield f"run {run} was not started, and {before} had ended as it has to"


@rule
def undone_in_order(index: Index) -> Iterator[str]:
    """What undoes a run begins when that has ended, and what undoes those after it."""
    for run, spec in index.specs.items():
        heads = index.run("recorded", spec.head) if spec.head else []
        for event in index.run("given", run) if heads else []:
            for other in spec.may_come:
                was_there = any(each.at < heads[0].at for each in index.run("inserted", other))
                ends = index.run("recorded", other)
                if was_there and (not ends or ends[0].at > event.at):
                    yield f"run {run} began before {other}, which was there, had ended"
