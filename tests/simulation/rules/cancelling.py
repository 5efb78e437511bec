"""Ends that somebody has asked for, and nobody else."""

from collections.abc import Iterator

from simulation.rules.index import CANCELLED, FIRST_FINAL, Index, rule


@rule
def cancelled_stays_cancelled(index: Index) -> Iterator[str]:
    """A run whose cancellation was acknowledged while it was open does not complete later."""
    for event in index.kind("cancel_acknowledged"):
        for end in index.run("recorded", event.run):
            if event.value < FIRST_FINAL and end.at > event.at and end.value[0] != CANCELLED:
                yield f"run {event.run} ended as {end.value[0]} after its cancellation was acknowledged"


@rule
def cancelled_by_somebody(index: Index) -> Iterator[str]:
    """A run is cancelled only if somebody asked for it, its flow ended, or its client was gone."""
    gone = {event.who for event in index.kind("died", "away", "peer_ended")}
    for event in index.kind("recorded"):
        spec = index.specs.get(event.run)
        if event.value[0] != CANCELLED or spec is None or spec.client in gone:
            continue
        if index.run("cancel_requested", event.run) or (spec.flow and index.run("recorded", spec.flow)):
            continue
        yield f"run {event.run} was cancelled (reason {event.value[1]}) and nobody had asked for it"
