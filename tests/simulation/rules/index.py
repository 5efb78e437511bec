"""A history as rules look at it, and the list of the rules."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from simulation.history import Event, Spec

COMPLETED, FAILED, CANCELLED, CRASHED = 100, 101, 102, 103
FIRST_FINAL: Final = 100


class Violation(NamedTuple):
    """A rule, and what broke it."""

    rule: str
    text: str


class Index:
    """A history by run and kind."""

    def __init__(self, history: Iterable[Event]) -> None:
        self.events = list(history)
        self.by_kind: dict[str, list[Event]] = {}
        self.by_run: dict[tuple[str, str], list[Event]] = {}
        for event in self.events:
            self.by_kind.setdefault(event.kind, []).append(event)
            if event.run:
                self.by_run.setdefault((event.kind, event.run), []).append(event)
        self.specs: dict[str, Spec] = {event.run: event.value for event in self.kind("submitted")}

    def kind(self, *kinds: str) -> list[Event]:
        return [event for kind in kinds for event in self.by_kind.get(kind, ())]

    def calls(self, run: str) -> int:
        spec = self.specs.get(run)
        return spec.calls if spec is not None else 0

    def run(self, kind: str, run: str) -> list[Event]:
        return self.by_run.get((kind, run), [])


Rule = Callable[[Index], Iterator[str]]
RULES: Final[dict[str, Rule]] = {}


def rule(function: Rule) -> Rule:
    """Register a rule under its name."""
    RULES[function.__name__.strip("_").replace("_", "-")] = function
    return function
