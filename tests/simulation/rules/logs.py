"""Log records: what was written is recorded once, and before the end of its run, or said to be missing."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from simulation.history import Event
from simulation.rules.index import COMPLETED, CRASHED, FAILED, Index, rule
from taskyard_contract.for_people.run_lines import is_end
from taskyard_contract.states import RunState

SERVER: Final = "server"
"""Who says that the database had no room for records."""


@rule
def logged_once(index: Index) -> Iterator[str]:
    """A log record is kept once, and comes from somebody. Each text is unique."""
    said = {event.value for event in index.kind("logged")}
    for text, count in Counter(event.value for event in index.kind("log_recorded")).items():
        if count > 1:
            yield f"the log record {text!r} is there {count} times"
        if text not in said:
            yield f"nobody has logged {text!r}"


@rule
def ends_are_said_once(index: Index) -> Iterator[str]:
    """Of each run that did not complete one line says how it ended; of those that were cancelled at most one.

    Unless the server said that records were given up.
    """
    ends = {event.run: event.value[0] for event in index.kind("recorded")}
    said = Counter(event.run for event in index.kind("said") if is_end(event.value))
    for run, count in said.items():
        if count > 1:
            yield f"the end of {run} is said {count} times"
        if run not in ends:
            yield f"the end of {run} is said, which has not ended"
    unsaid = [run for run, state in ends.items() if state in _ALWAYS_SAID and not said[run]]
    dropped = sum(event.value for event in index.kind("logs_dropped") if event.who == SERVER)
    if len(unsaid) > dropped:
        yield f"{len(unsaid)} ends are not said, one of them that of {unsaid[0]}"


_ALWAYS_SAID: Final = (FAILED, CRASHED, int(RunState.NOT_READY))


@rule
def logs_are_complete(index: Index) -> Iterator[str]:
    """Of a run that ended by a report everything is kept that was logged by the execution that counted.

    Unless somebody said that records were given up.
    """
    kept = {event.value for event in index.kind("log_recorded")}
    lost: dict[str, list[str]] = {}
    for event in index.kind("recorded"):
        if event.value[0] in (COMPLETED, FAILED):
            who, texts = _lacking(index, event, kept)
            lost.setdefault(who, []).extend(texts)
    told = Counter[str]()
    for event in index.kind("logs_dropped"):
        told[event.who] += event.value
    for who, texts in lost.items():
        if len(texts) > told[who] + told[SERVER]:
            yield f"{len(texts)} log records that {who} had are lost, one of them {texts[0]!r}"


def _lacking(index: Index, end: Event, kept: set[str]) -> tuple[str, list[str]]:
    """Return the session that reported an end, and which records of that execution are not kept."""
    said: dict[str, list[str]] = {}
    for each in index.run("logged", end.run):
        if each.epoch == end.epoch:
            said.setdefault(each.who, []).append(each.value)
    sessions = {each.who: each.value[2] for each in index.run("given", end.run) if each.epoch == end.epoch}
    # Of several processes under one epoch those have died that were not the last.
    lacking = [
        (sessions.get(who, who), [text for text in texts if text not in kept]) for who, texts in said.items()
    ]
    return min(lacking, key=lambda each: len(each[1]), default=("", []))
