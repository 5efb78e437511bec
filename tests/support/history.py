"""Checks the history of a run of the whole system: what tasks wrote, what clients got, what was recorded.

Tasks append a line when an execution starts and when it ends; every line is one write to a file opened for
appending, so the order of the lines is the order in which things happened on this machine. A client prints
one record per run it submitted: its id, its upstream runs, its result.

Invariant: the three sources are independent; a check fails when any two of them disagree.
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.recorded import Recorded

from taskyard_contract.states import FIRST_FINAL, RunState, StateReason


@dataclass
class Execution:
    """One time a worker ran a task's function."""

    run_id: str
    attempt: int
    pid: int
    started: int
    """Number of the line."""
    ended: int | None = None


@dataclass
class History:
    """All executions in the order they started."""

    executions: list[Execution] = field(default_factory=list)

    def of(self, run_id: str) -> list[Execution]:
        return self._by_run.get(run_id, [])

    def __post_init__(self) -> None:
        self._by_run: dict[str, list[Execution]] = {}
        for execution in self.executions:
            self._by_run.setdefault(execution.run_id, []).append(execution)

    def first_end(self, run_id: str) -> int | None:
        """Return the line at which an execution of a run ended for the first time."""
        ends = [execution.ended for execution in self.of(run_id) if execution.ended is not None]
        return min(ends, default=None)

    def repeated(self) -> int:
        """Return how many executions there were beyond one per attempt."""
        attempts = {(execution.run_id, execution.attempt) for execution in self.executions}
        return len(self.executions) - len(attempts)


def read_history(path: Path) -> History:
    """Read what tasks wrote."""
    open_executions: dict[tuple[str, int, int], Execution] = {}
    executions: list[Execution] = []
    written = path.read_text().rpartition("\n")[0]  # the last line may be half written
    for number, line in enumerate(written.splitlines()):
        what, run_id, attempt, pid = line.split()
        key = (run_id, int(attempt), int(pid))
        if what == "start":
            execution = Execution(*key, started=number)
            open_executions[key] = execution
            executions.append(execution)
        else:
            open_executions.pop(key).ended = number
    return History(executions)


Records = list[dict[str, Any]]


def check_all(records: Records, recorded: Recorded, history: History) -> None:
    """Assert everything that must hold, whatever was killed meanwhile."""
    check_one_end_each(records, recorded)
    check_executed(records, recorded, history)
    check_order(records, history)
    check_cache_leaders(records, recorded, history)


def check_one_end_each(records: Records, recorded: Recorded) -> None:
    """Every run the client submitted is recorded once, ended once, and with the result the client got."""
    submitted = Counter(record["run_id"] for record in records)
    assert not [run_id for run_id, count in submitted.items() if count > 1], "a run was answered twice"
    rows = Counter(run.run_id.hex() for run in recorded.tasks)
    assert rows == submitted, "runs recorded and runs submitted differ"
    for run in recorded.tasks:
        assert run.state == RunState.COMPLETED, run
        assert run.ended_us is not None, run
        assert recorded.final_events.get(run.seq, 0) == 0, f"{run} has a second end"
    for record in records:
        assert recorded.by_id[record["run_id"]].value == record["value"], record
    assert all(run.state >= FIRST_FINAL for run in recorded.flows)


def check_executed(records: Records, recorded: Recorded, history: History) -> None:
    """Every run was executed to its end at least once, unless the cache had its result."""
    for record in records:
        cached = recorded.by_id[record["run_id"]].reason == StateReason.CACHED
        assert cached or history.first_end(record["run_id"]) is not None, f"{record} was never executed"
        assert not cached or not history.of(record["run_id"]), f"{record} was cached and executed"


def check_order(records: Records, history: History) -> None:
    """No execution started before all upstream runs had ended."""
    for record in records:
        for execution in history.of(record["run_id"]):
            for upstream_id in record["upstream"]:
                end = history.first_end(upstream_id)
                assert end is not None, f"{record} started although {upstream_id} never ended"
                assert end < execution.started, f"{record} started before {upstream_id} had ended"


def check_cache_leaders(records: Records, recorded: Recorded, history: History) -> None:
    """Of the runs with one cache key exactly one was executed; the others took its result."""
    groups: dict[str, Records] = {}
    for record in records:
        if record["cache_key"]:
            groups.setdefault(record["cache_key"], []).append(record)
    for key, group in groups.items():
        executed = [record["run_id"] for record in group if history.of(record["run_id"])]
        reasons = Counter(recorded.by_id[record["run_id"]].reason for record in group)
        assert len(executed) == 1, f"{len(executed)} runs with the cache key {key} were executed"
        assert reasons[StateReason.CACHED] == len(group) - 1, f"{key}: {reasons}"
        assert len({str(record["value"]) for record in group}) == 1, f"{key} has several values"
