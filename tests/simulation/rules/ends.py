"""What is recorded of runs, and what clients are told of it."""

from collections.abc import Iterator
from typing import Final

from simulation.rules.index import COMPLETED, Index, rule

TRY_AGAIN: Final = (3, 6)
"""Reasons of refusals: asked for before it was submitted; the server is overloaded."""


@rule
def acknowledged_runs_are_recorded(index: Index) -> Iterator[str]:
    """What was acknowledged is in the database."""
    recorded = {event.run for event in index.kind("inserted", "final")}
    for event in index.kind("acknowledged"):
        if event.run not in recorded:
            yield f"run {event.run} was acknowledged to {event.who} and is not recorded"


@rule
def one_end(index: Index) -> Iterator[str]:
    """A run ends once."""
    for (kind, run), events in index.by_run.items():
        if kind == "recorded" and len(events) > 1:
            yield f"run {run} ended {len(events)} times: {[event.value[0] for event in events]}"


@rule
def told_is_recorded(index: Index) -> Iterator[str]:
    """What a client is told is what the database says, to the byte."""
    final = {event.run: event.value for event in index.kind("final")}
    for event in index.kind("told"):
        state, result = event.value
        known = final.get(event.run)
        if (
            known is None
            or known[0] != state
            or (state == COMPLETED and result is not None and known[1] != result)
        ):
            yield f"run {event.run}: {event.who} was told {event.value}, recorded is {known}"


@rule
def bad_ends_are_listed(index: Index) -> Iterator[str]:
    """The runs that ended otherwise than completed are listed under their states, once, and no others."""
    ended = [(event.run, event.value[0]) for event in index.kind("final") if event.value[0] > COMPLETED]
    listed = [(event.run, event.value) for event in index.kind("listed")]
    for run, state in sorted({*ended, *listed}):
        if listed.count((run, state)) != ended.count((run, state)):
            yield f"run {run} is listed {listed.count((run, state))} times in state {state}"


@rule
def refused_is_not_recorded(index: Index) -> Iterator[str]:
    """A run that was refused is not there: it was before, or its client was asked to try again."""
    acknowledged = {event.run for event in index.kind("acknowledged")}
    final = {event.run for event in index.kind("final")}
    for event in index.kind("refused"):
        if event.run in final and event.run not in acknowledged and event.value[0] not in TRY_AGAIN:
            yield f"run {event.run} was refused ({event.value[1]}) and is recorded"


@rule
def completed_was_executed(index: Index) -> Iterator[str]:
    """A task that completed was executed, under the epoch that is recorded."""
    if not index.kind("given"):
        return
    for event in index.kind("recorded"):
        spec = index.specs.get(event.run)
        if event.value[0] != COMPLETED or spec is None or spec.is_flow or event.value[1] == 1:
            continue
        succeeded = {each.epoch for each in index.run("ended", event.run) if each.value == "succeeded"}
        if event.epoch not in succeeded:
            yield f"run {event.run} completed under epoch {event.epoch:x}, which nobody executed"


@rule
def order(index: Index) -> Iterator[str]:
    """A run begins after its upstream runs have ended, with what they returned."""
    for event in index.kind("given"):
        spec = index.specs.get(event.run)
        for upstream in spec.upstream if spec is not None else ():
            ends = index.run("recorded", upstream)
            if not ends or ends[0].at > event.at:
                yield f"run {event.run} began before its upstream run {upstream} had ended"
            elif ends[0].value[0] == COMPLETED and event.value[1].get(upstream) != ends[0].value[4]:
                yield f"run {event.run} was given something else than what {upstream} returned"
