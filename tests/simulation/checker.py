"""What must be true of every history. Pure: events in, violations out.

Each rule is a function over the whole history, so that a simulated play and a real run, put together from
logs and SQL, are judged by the same lines. A rule for whose events a history has no source finds nothing.
"""

from collections.abc import Iterable

from simulation.history import Event, History
from simulation.rules import (
    attempts,
    caching,
    cancelling,
    ends,
    epochs,
    logs,
    nested,
    peers,
    processes,
    repeats,
    undoing,
    values,
)
from simulation.rules.index import RULES, Index, Rule, Violation, rule

__all__ = ["RULES", "Index", "Rule", "Violation", "check", "rule", "violations"]

REGISTERED = (
    attempts, caching, cancelling, ends, epochs, logs, nested, peers, processes, repeats, undoing, values,
)  # fmt: skip
"""Imported, which is what registers their rules."""


def violations(history: Iterable[Event]) -> list[Violation]:
    """Return everything that is wrong with a history."""
    index = Index(history)
    return [Violation(name, text) for name, check in RULES.items() for text in check(index)]


def check(history: History) -> list[Violation]:
    """Return everything that is wrong with a history."""
    return violations(history)
