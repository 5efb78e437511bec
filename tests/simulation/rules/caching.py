"""Cache keys: of equal runs one is executed at a time, and the others get what it returned."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from simulation.history import Event, Spec
from simulation.rules.index import COMPLETED, Index, rule

CACHED: Final = 1
"""A reason: the result is that of another run."""
ROUNDED: Final = 0.001
"""Times are recorded in whole microseconds, and added up."""


class Result(NamedTuple):
    """An execution of a run with a key whose result was recorded."""

    run: str
    spec: Spec
    began: float
    ended: float
    recorded: float
    data: bytes | None


def _results(index: Index) -> dict[str, list[Result]]:
    """Return what was executed and recorded, by key, in the order of recording."""
    results: dict[str, list[Result]] = {}
    for event in index.kind("recorded"):
        spec = index.specs.get(event.run)
        if spec is None or not spec.cache_key or event.value[0] != COMPLETED or event.value[1] == CACHED:
            continue
        began = _first(index.run("given", event.run), event.epoch)
        ended = _first(
            [each for each in index.run("ended", event.run) if each.value == "succeeded"], event.epoch
        )
        if began is not None and ended is not None:
            result = Result(event.run, spec, began, ended, event.at, event.value[4])
            results.setdefault(spec.cache_key, []).append(result)
    return results


def _first(events: list[Event], epoch: int) -> float | None:
    return next((event.at for event in events if event.epoch == epoch), None)


@rule
def one_execution_per_key(index: Index) -> Iterator[str]:
    """Of runs with one cache key one is executed to its end, and all others have its result.

    Unless results expire or are replaced.
    """
    changing = {spec.cache_key for spec in index.specs.values() if spec.refresh or spec.expires}
    by_key: dict[str, list[Event]] = {}
    for event in index.kind("recorded"):
        spec = index.specs.get(event.run)
        if spec is not None and spec.cache_key and event.value[0] == COMPLETED:
            by_key.setdefault(spec.cache_key, []).append(event)
    for key, ends in by_key.items():
        if key in changing:
            continue
        executed = [event.run for event in ends if event.value[1] != CACHED]
        if len(executed) != 1:
            yield f"{len(executed)} runs with the key {key!r} completed by themselves: {executed}"
        if len({event.value[4] for event in ends}) > 1:
            yield f"runs with the key {key!r} have different results"


@rule
def cached_is_not_executed(index: Index) -> Iterator[str]:
    """Nothing succeeds by an execution and is then recorded as cached."""
    for event in index.kind("recorded"):
        if event.value[0] == COMPLETED and event.value[1] == CACHED:
            for end in index.run("ended", event.run):
                if end.value == "succeeded":
                    yield f"run {event.run} was taken from the cache, and executed under epoch {end.epoch:x}"


@rule
def one_execution_at_a_time(index: Index) -> Iterator[str]:
    """Equal runs are not executed at once, and none is while the cache has what another one returned."""
    for key, results in _results(index).items():
        usual = sorted((each for each in results if not each.spec.refresh), key=lambda each: each.began)
        for place, later in enumerate(usual):
            for earlier in usual[:place]:
                if later.began < earlier.recorded:
                    yield f"runs {earlier.run} and {later.run} were executed at once for the key {key}"
            before = [each.recorded for each in usual[:place] if each.recorded <= later.began]
            since = max([*before, *(event.at for event in index.run("submitted", later.run))])
            if before and _holds(results, since, later.began):
                yield f"run {later.run} was executed, although there was a result for its key {key}"


def _holds(results: list[Result], since: float, until: float) -> bool:
    """Whether the cache has a result for a key all the time between two moments."""
    for place, result in enumerate(results):
        replaced = results[place + 1].recorded if place + 1 < len(results) else until + 1
        expired = result.ended + result.spec.expires if result.spec.expires else until + 1
        if since < replaced and result.recorded <= until and expired < min(replaced, until) + ROUNDED:
            return False
    return results[0].recorded <= since


@rule
def cached_results_are_of_the_key(index: Index) -> Iterator[str]:
    """Who was not executed got what an equal one had returned, the newest, and none that had expired."""
    results = _results(index)
    for event in index.kind("recorded"):
        spec = index.specs.get(event.run)
        if spec is None or event.value[0] != COMPLETED or event.value[1] != CACHED:
            continue
        before = [each for each in results.get(spec.cache_key, ()) if each.recorded <= event.at]
        used = [each for each in before if each.data == event.value[4]]
        if spec.refresh:
            yield f"run {event.run} was taken from the cache, and was to replace what is there"
        elif not used:
            told = event.value[4]
            yield f"run {event.run} got {told!r}, which no run with its key {spec.cache_key} returned"
        else:
            yield from _too_old(index, event, used[-1], before)


def _too_old(index: Index, event: Event, used: Result, before: list[Result]) -> Iterator[str]:
    for submitted in index.run("submitted", event.run):
        newer = [each for each in before if used.recorded < each.recorded < submitted.at]
        if newer:
            yield f"run {event.run} got the result of {used.run}, though that of {newer[-1].run} was newer"
        elif used.spec.expires and submitted.at > used.ended + used.spec.expires:
            yield f"run {event.run} got the result of {used.run}, which had expired before it was submitted"


@rule
def followers_have_a_leader(index: Index) -> Iterator[str]:
    """Who waits for an equal run waits for one that there is."""
    for event in index.kind("leaderless"):
        yield f"run {event.run} waited {event.at - event.value:.0f} s for an equal one, and there was none"
