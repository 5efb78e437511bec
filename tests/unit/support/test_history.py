"""The checker of histories: it must find what it looks for, or chaos proves nothing."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from support.history import check_all, read_history
from support.recorded import Recorded, RecordedRun

from taskyard_contract.pickling import dumps
from taskyard_contract.states import RunKind, RunState, StateReason

UPSTREAM, DOWNSTREAM, CACHED = b"a" * 16, b"b" * 16, b"c" * 16


def row(run_id: bytes, value: int, **fields: Any) -> RecordedRun:
    usual: dict[str, Any] = {
        "seq": run_id[0], "run_id": run_id, "kind": RunKind.TASK, "state": RunState.COMPLETED, "reason": 0,
        "attempt": 1, "infra_retries": 0, "cache_key": None, "submitted_us": 1, "started_us": 2,
        "ended_us": 3, "result": dumps(value), "outcome": None, "flow_seq": None,
    }  # fmt: skip
    return RecordedRun(**usual | fields)


@dataclass
class World:
    """A run, one downstream of it, and one that took the former's result from the cache."""

    lines: list[str] = field(default_factory=list)
    runs: dict[bytes, RecordedRun] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)
    final_events: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for run_id in (UPSTREAM, DOWNSTREAM):
            self.lines += [f"start {run_id.hex()} 1 7", f"end {run_id.hex()} 1 7"]
        self.runs = {
            UPSTREAM: row(UPSTREAM, 1),
            DOWNSTREAM: row(DOWNSTREAM, 2),
            CACHED: row(CACHED, 1, reason=StateReason.CACHED),
        }
        self.records = [
            {"run_id": UPSTREAM.hex(), "upstream": [], "cache_key": "k", "value": 1},
            {"run_id": DOWNSTREAM.hex(), "upstream": [UPSTREAM.hex()], "cache_key": "", "value": 2},
            {"run_id": CACHED.hex(), "upstream": [], "cache_key": "k", "value": 1},
        ]

    def check(self, folder: Path) -> None:
        path = folder / "history"
        path.write_text("".join(f"{line}\n" for line in self.lines))
        recorded = Recorded.__new__(Recorded)
        recorded.runs = list(self.runs.values())
        recorded.final_events = self.final_events
        recorded.by_id = {run.run_id.hex(): run for run in recorded.runs}
        check_all(self.records, cast(Recorded, recorded), read_history(path))


def test_a_sound_history(tmp_path: Path) -> None:
    World().check(tmp_path)


def test_an_execution_that_was_repeated_is_allowed(tmp_path: Path) -> None:
    world = World()
    world.lines = [f"start {UPSTREAM.hex()} 1 6", *world.lines]
    world.check(tmp_path)
    assert read_history(tmp_path / "history").repeated() == 1


def _lost(world: World) -> None:
    del world.runs[DOWNSTREAM]


def _foreign(world: World) -> None:
    world.runs[b"d" * 16] = row(b"d" * 16, 0)


def _answered_twice(world: World) -> None:
    world.records.append(world.records[1])


def _failed(world: World) -> None:
    world.runs[DOWNSTREAM] = row(DOWNSTREAM, 2, state=RunState.CRASHED)


def _second_end(world: World) -> None:
    world.final_events = {DOWNSTREAM[0]: 1}


def _other_value(world: World) -> None:
    world.runs[DOWNSTREAM] = row(DOWNSTREAM, 3)


def _never_executed(world: World) -> None:
    world.lines = world.lines[:2]


def _never_finished(world: World) -> None:
    world.lines = world.lines[:3]


def _child_first(world: World) -> None:
    world.lines = world.lines[2:] + world.lines[:2]


def _two_leaders(world: World) -> None:
    world.lines += [f"start {CACHED.hex()} 1 7", f"end {CACHED.hex()} 1 7"]
    world.runs[CACHED] = row(CACHED, 1)


def _cached_and_executed(world: World) -> None:
    world.lines += [f"start {CACHED.hex()} 1 7", f"end {CACHED.hex()} 1 7"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_lost, "differ"),
        (_foreign, "differ"),
        (_answered_twice, "answered twice"),
        (_failed, "state="),
        (_second_end, "second end"),
        (_other_value, "value"),
        (_never_executed, "never executed"),
        (_never_finished, "never executed"),
        (_child_first, "before"),
        (_two_leaders, "2 runs with the cache key k"),
        (_cached_and_executed, "cached and executed"),
    ],
)
def test_a_spoilt_history(tmp_path: Path, spoil: Any, words: str) -> None:
    world = World()
    spoil(world)
    with pytest.raises(AssertionError, match=words):
        world.check(tmp_path)
