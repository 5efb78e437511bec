"""What was written down in different places is put together, and judged."""

from array import array
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from chaos.storm import lines
from chaos.storm.commit_log import Committed
from chaos.storm.recording import Recording, history_of
from simulation.checker import violations
from simulation.history import Event

from taskyard_contract.states import RunState, StateReason

RUN, EPOCH = "ab" * 16, (1 << 32) | 7
PENDING, READY, COMPLETED = RunState.PENDING, RunState.READY, RunState.COMPLETED
STAMP = "2026-11-28 20:00:00,500"


def committed(at: float, kind: str, state: int = 0, reason: int = 0, infra: int = 0) -> Committed:
    return Committed(at, kind, 1, EPOCH, state, reason, 1, infra, None, None, None)


def dispatched(at: float) -> Committed:
    entries = array("Q", [1, EPOCH]).tobytes()
    return Committed(at, "dispatched", None, None, None, None, None, None, b"s", entries, "host/a0")


def place(name: str, *lives: tuple[float, str]) -> Any:
    return SimpleNamespace(name=name, lives=list(lives))


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    """One run of one client that one worker executed, and that completed."""
    it = Recording.__new__(Recording)
    journal = tmp_path / "journal-c0.1"
    lines.append(journal, at=1.0, kind="submitted", run=RUN, spec={"returns": "x"})
    lines.append(journal, at=1.2, kind="acknowledged", run="", runs=[RUN])
    lines.append(journal, at=9.0, kind="told", run=RUN, state=COMPLETED, result="x")
    places = {"agent": [place("a0", (0.5, "a0.1"), (30.0, "a0.2"))], "client": [place("c0", (0.6, "c0.1"))]}
    it.places = SimpleNamespace(of=places.__getitem__, events=[])
    it.installation = SimpleNamespace(
        folder=tmp_path, plan=SimpleNamespace(slots=2), journal=lambda who: tmp_path / f"journal-{who}"
    )
    about = {"run": RUN, "epoch": EPOCH, "pid": 5}
    it.executions = [
        {"at": 2.0, "kind": "given", "attempt": 1, "inputs": {}, "agent": "a0.1", **about},
        {"at": 2.1, "kind": "logged", "text": "storm 1", **about},
        {"at": 3.0, "kind": "ended", "how": "succeeded", **about},
    ]
    it.committed = [
        committed(1.1, "inserted", PENDING),
        dispatched(1.5),
        committed(3.1, "recorded", COMPLETED),
    ]
    it.rows = {1: (1, bytes.fromhex(RUN), 1, COMPLETED, None, None)}
    it.results, it.logs, it.open_events = {1: "x"}, [(1, "storm 1"), (1, "of the product")], []
    it.listed = []
    return it


def rules(recording: Recording) -> set[str]:
    return {violation.rule for violation in violations(history_of(recording))}


def test_nothing_is_wrong_with_an_ordinary_run(recording: Recording):
    history = history_of(recording)
    assert violations(history) == []
    kinds = [
        "submitted", "inserted", "acknowledged", "dispatched", "given", "logged", "ended", "recorded", "told",
    ]  # fmt: skip
    assert [event.kind for event in history if event.at < 10] == kinds
    assert [event.who for event in history if event.kind == "dispatched"] == ["a0.1"]


def test_a_run_that_is_not_there(recording: Recording):
    recording.committed = []
    recording.rows = {1: (1, b"another run......", 1, COMPLETED, None, None)}
    assert rules(recording) == {"acknowledged-runs-are-recorded", "told-is-recorded"}


def test_an_end_that_replaced_another_one(recording: Recording):
    recording.committed.append(committed(4.0, "recorded", RunState.FAILED))
    assert "one-end" in rules(recording)


def test_a_result_that_is_not_the_right_one(recording: Recording):
    recording.results[1] = "y"
    assert rules(recording) == {"results-are-right", "told-is-recorded"}


def test_log_records_that_are_lost_or_doubled(recording: Recording):
    recording.logs = []
    assert rules(recording) == {"logs-are-complete"}
    recording.logs = [(1, "storm 1")] * 2
    assert rules(recording) == {"logged-once"}


def test_what_the_control_plane_says_of_a_bad_end(recording: Recording):
    recording.committed[-1] = recording.committed[-1]._replace(state=RunState.FAILED)
    assert "ends-are-said-once" in rules(recording)
    recording.logs.append((1, "Finished in state Failed('no')"))
    assert "ends-are-said-once" not in rules(recording)
    recording.logs.append((1, "Finished in state Failed('no')"))
    assert "ends-are-said-once" in rules(recording)


def test_bad_ends_are_listed(recording: Recording):
    recording.rows = {1: (1, bytes.fromhex(RUN), 1, RunState.FAILED, None, None)}
    assert "bad-ends-are-listed" in rules(recording)
    recording.listed = [(1, RunState.FAILED)]
    assert "bad-ends-are-listed" not in rules(recording)
    recording.listed.append((2, RunState.FAILED))
    assert "bad-ends-are-listed" in rules(recording)


def test_a_run_that_is_still_open(recording: Recording):
    recording.rows = {1: (1, bytes.fromhex(RUN), 1, RunState.RUNNING, None, None)}
    assert "liveness" in rules(recording)


def test_attempts_are_lost_with_processes_that_were_ended(recording: Recording):
    lost = committed(1.9, "event", READY, StateReason.WORKER_DIED, infra=1)
    recording.committed.insert(2, lost)
    recording.executions[0]["at"] = 2.0  # after it had been lost
    assert rules(recording) == {"infra-retries-were-given"}
    recording.places.events.append(Event(1.8, "struck", who="a0.1", value=1))
    assert rules(recording) == set()


def test_what_agents_log_tells_which_processes_have_ended(recording: Recording, tmp_path: Path):
    log = tmp_path / "01-a0.1.err"
    log.write_text(
        f"{STAMP} WARNING x: worker 5: it was killed\n{STAMP} WARNING x: the lease lapsed; ending\n"
    )
    struck = [event for event in history_of(recording) if event.kind == "struck"]
    assert [(event.who, event.value) for event in struck] == [("a0.1", 1), ("a0.1", 2)]
    assert struck[0].at % 1 == pytest.approx(0.5)


def test_tracebacks_are_found_except_those_of_workers_that_were_told_to_end(
    recording: Recording, tmp_path: Path
):
    log = tmp_path / "00-server.err"
    log.write_text("Exception ignored in: <x>\nTraceback (most recent call last):\n")
    assert rules(recording) == set()
    log.write_text(f"{STAMP} ERROR x: failed\nTraceback (most recent call last):\n")
    assert rules(recording) == {"unhandled"}
