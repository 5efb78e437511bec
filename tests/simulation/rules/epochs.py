"""Assignments: one execution each, and the last one counts."""

from collections.abc import Iterator

from simulation.rules.index import COMPLETED, FAILED, Index, rule


@rule
def one_execution_per_epoch(index: Index) -> Iterator[str]:
    """Nothing is given to a process twice under one epoch, unless a worker died with it unfinished."""
    died: dict[tuple[str, int], int] = {}
    for event in index.kind("given"):
        key = event.run, event.epoch
        died[key] = died.get(key, 0) + 1
    for (run, epoch), count in died.items():
        ended = [event for event in index.run("ended", run) if event.epoch == epoch]
        sessions = {event.value[2] for event in index.run("given", run) if event.epoch == epoch}
        if count > 1 and len(sessions) > 1:
            yield f"run {run} was given to {len(sessions)} agents under epoch {epoch:x}"
        elif count > 1 and len(ended) > 1 and not _worker_died(index, run, epoch):
            yield f"run {run} was executed {len(ended)} times under epoch {epoch:x}"


def _worker_died(index: Index, run: str, epoch: int) -> bool:
    """Whether different workers had it: what one has finished and not yet sent dies with it."""
    return len({event.who for event in index.run("given", run) if event.epoch == epoch}) > 1


@rule
def epochs_increase(index: Index) -> Iterator[str]:
    """Each assignment of a run that is recorded has a higher epoch than the one before."""
    last: dict[str, int] = {}
    for event in index.kind("dispatched"):
        if event.run and event.epoch < last.get(event.run, 0):
            yield f"run {event.run} was assigned under {event.epoch:x} after {last[event.run]:x}"
        if event.run:
            last[event.run] = event.epoch


@rule
def nothing_from_superseded_owners(index: Index) -> Iterator[str]:
    """Nothing is recorded by an owner whose place another one has taken."""
    for event in index.kind("late_commit"):
        yield f"generation {event.value[0]} committed at {event.at:.3f}, though {event.value[1]} was there"


@rule
def nothing_from_superseded_epochs(index: Index) -> Iterator[str]:
    """No end is accepted from an assignment after which the run was assigned anew."""
    for event in index.kind("recorded"):
        if event.value[0] not in (COMPLETED, FAILED):
            continue
        later = [
            each
            for each in index.run("dispatched", event.run)
            if each.epoch > event.epoch and each.at < event.at
        ]
        if later:
            yield f"run {event.run} ended under {event.epoch:x} although {later[0].epoch:x} had been assigned"


@rule
def what_is_restated_goes_on(index: Index) -> Iterator[str]:
    """Who executes a run and says so in time goes on, unless the attempt was decided.

    So no assignment is lost that an owner did not live to record.
    """
    for event in index.kind("disowned"):
        run, epoch = event.run, event.epoch
        executed = any(each.epoch == epoch for each in index.run("given", run))
        ended = {each.value for each in index.run("ended", run) if each.epoch == epoch}
        decided = any(each.epoch >= epoch and each.at <= event.at + 1 for each in index.run("event", run))
        if executed and not decided and "keyed" not in ended:
            yield f"run {run} under {epoch:x} was to be dropped, and nobody else had it"
