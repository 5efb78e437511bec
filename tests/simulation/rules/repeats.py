"""Runs that are submitted more than once under one id."""

from collections.abc import Iterator
from typing import Final

from simulation.rules.index import Index, rule

RUN_EXISTS: Final = 4


@rule
def repeats_change_nothing(index: Index) -> Iterator[str]:
    """To submit a run again is no error, and to submit another one under its id is one."""
    for event in index.kind("repeated"):
        equal, reason = event.value
        if equal and reason:
            yield f"run {event.run} was refused (reason {reason}) because it was submitted twice"
        elif not equal and reason != RUN_EXISTS:
            yield f"another run was submitted as {event.run}, and the answer was {reason}, not that it exists"


@rule
def one_run_per_id(index: Index) -> Iterator[str]:
    """Of several runs with one id one is accepted."""
    accepted: dict[str, set[str]] = {}
    for event in index.kind("accepted"):
        accepted.setdefault(event.run, set()).add(event.value)
    for run, contents in accepted.items():
        if len(contents) > 1:
            yield f"several runs were accepted as {run}: {', '.join(sorted(contents))}"
