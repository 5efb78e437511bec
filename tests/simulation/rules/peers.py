"""Both sides of a stream agree, and neither is ended by it."""

from collections.abc import Iterator

from simulation.rules.index import Index, rule


@rule
def peers_go_on(index: Index) -> Iterator[str]:
    """No session and no agent is ended by an error, unless another process has taken its place."""
    for event in index.kind("peer_ended"):
        error, replaced = event.value
        if not replaced:
            yield f"{event.who} was ended by {error}"


@rule
def credit_holds(index: Index) -> Iterator[str]:
    """No agent is sent more than it has asked for."""
    for event in index.kind("overdrawn"):
        yield f"{event.who} was sent {event.value[0]} runs and had asked for {event.value[1]}"


@rule
def ghost(index: Index) -> Iterator[str]:
    """What an owner takes for held is held."""
    for event in index.kind("ghost"):
        yield f"run {event.run} under {event.epoch:x} is held by nobody, and its owner does not know"


@rule
def stray(index: Index) -> Iterator[str]:
    """What is held is known to be held."""
    for event in index.kind("stray"):
        yield f"run {event.run} under {event.epoch:x} is held by an agent, and its owner does not know"


@rule
def starved(index: Index) -> Iterator[str]:
    """What is ready goes to whoever has credit."""
    for event in index.kind("starved"):
        yield f"run {event.run} was ready while an agent had credit, for {event.at - event.value:.0f} s"
