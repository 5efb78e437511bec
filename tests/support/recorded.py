"""What a control plane recorded, read from its database with SQL alone, so that nothing of it is believed."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg

from taskyard_api.v1 import session_service_pb2
from taskyard_contract.pickling import loads
from taskyard_contract.states import FIRST_FINAL, RunKind, RunState

_RUNS = (
    "SELECT seq, run_id, kind, state, reason, attempt, infra_retries, cache_key, submitted_us, started_us,"
    " ended_us, result, outcome, flow_seq FROM run ORDER BY seq"
)
_FINAL_EVENTS = f"SELECT run_seq, count(*) FROM run_event WHERE state >= {FIRST_FINAL} GROUP BY run_seq"


@dataclass(frozen=True)
class RecordedRun:
    """One row."""

    seq: int
    run_id: bytes
    kind: int
    state: int
    reason: int
    attempt: int
    infra_retries: int
    cache_key: str | None
    submitted_us: int
    started_us: int | None
    ended_us: int | None
    result: bytes | None
    outcome: bytes | None
    flow_seq: int | None

    @property
    def value(self) -> Any:
        """The result; what came from the cache is recorded with its whole outcome."""
        if self.result is not None:
            return loads(self.result)
        assert self.outcome is not None, self
        return loads(session_service_pb2.RunOutcome.FromString(self.outcome).result.data)


class Recorded:
    """All runs of a database."""

    def __init__(self, database: str) -> None:
        self.runs = [RecordedRun(*row) for row in _query(database, _RUNS)]
        self.final_events = dict(_query(database, _FINAL_EVENTS))
        self.by_id = {run.run_id.hex(): run for run in self.runs}

    @property
    def tasks(self) -> list[RecordedRun]:
        return [run for run in self.runs if run.kind == RunKind.TASK]

    @property
    def flows(self) -> list[RecordedRun]:
        return [run for run in self.runs if run.kind == RunKind.FLOW]

    def states(self, kind: RunKind) -> dict[str, int]:
        """Return how many runs of a kind are in each state."""
        counts: dict[str, int] = {}
        for run in self.runs:
            if run.kind == kind:
                name = RunState(run.state).name
                counts[name] = counts.get(name, 0) + 1
        return counts


def _query(database: str, statement: str) -> list[tuple[Any, ...]]:
    if database.startswith("sqlite:///"):
        path = database.removeprefix("sqlite:///")
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as lite:
            return lite.execute(statement).fetchall()
    with psycopg.connect(database.replace("+psycopg", "")) as postgres:
        return postgres.execute(statement).fetchall()
