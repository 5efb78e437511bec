"""Runs that call runs: whose those are, when they end, and how many wait."""

from collections.abc import Iterator
from typing import Final

from simulation.history import Terms
from simulation.rules.index import Index, rule

WAITING_REFUSED: Final = 13
LEASES: Final = 3
"""After so many leases, and a moment, everybody has noticed that a process is gone."""
MOMENT: Final = 10.0


@rule
def calls_have_their_caller(index: Index) -> Iterator[str]:
    """What a run submits is recorded as its own, and as that of the session it did it with."""
    for event in index.kind("inserted"):
        spec = index.specs.get(event.run)
        if spec is None or event.value is None or event.value == (spec.caller, spec.client):
            continue
        yield (
            f"run {event.run} is recorded as called by {event.value[0] or 'nobody'} in {event.value[1]},"
            f" not by {spec.caller or 'nobody'} in {spec.client}"
        )


@rule
def calls_go_on(index: Index) -> Iterator[str]:
    """To call others is not what a run fails of: it waits for the server as long as its agent does."""
    for event in index.kind("ended"):
        if event.value != "failed" or not index.calls(event.run):
            continue
        given = [each for each in index.run("given", event.run) if each.epoch == event.epoch]
        if given and given[0].value[0] > index.specs[event.run].failures:
            yield f"run {event.run} failed under {event.epoch:x} because it could not call others"


@rule
def nothing_is_assigned_for_nobody(index: Index) -> Iterator[str]:
    """What a process has submitted that is gone is not assigned any more, once that can be known."""
    whole = [event.at for event in index.kind("whole")]
    terms: list[Terms] = [event.value for event in index.kind("terms")]
    if not whole or not terms:
        return
    gone = {event.who: event.at for event in index.kind("died")}
    first: dict[str, float] = {}
    for event in index.kind("dispatched"):
        first.setdefault(event.run, event.at)
    for run, at in first.items():
        spec = index.specs.get(run)
        since = gone.get(spec.client) if spec is not None else None
        if since is not None and at > max(since, whole[0]) + LEASES * terms[0].lease + MOMENT:
            yield f"run {run} was assigned {at - since:.0f} s after the process that submitted it was gone"


@rule
def waiting_is_refused_to_too_many_only(index: Index) -> Iterator[str]:
    """No run is ended because too many wait, unless there are so many that could."""
    refused = [event for event in index.kind("event", "recorded") if event.value[1] == WAITING_REFUSED]
    callers = {event.run for event in index.kind("given") if index.calls(event.run)}
    for terms in index.kind("terms"):
        for event in refused:
            if len(callers) <= terms.value.most_waiting:
                yield f"run {event.run} was refused to wait, and only {len(callers)} runs ever called others"


@rule
def processes_have_a_ceiling(index: Index) -> Iterator[str]:
    """An agent has as many processes as slots and runs that may wait, and one that rests."""
    for event in index.kind("crowded"):
        yield f"{event.who} had {event.value[0]} processes, and may have {event.value[1]}"


@rule
def nothing_executes_unseen(index: Index) -> Iterator[str]:
    """When everything should have come to rest, no process is still at something."""
    for event in index.kind("executing"):
        yield f"run {event.run} was still executed under {event.epoch:x} by {event.who} in the end"
