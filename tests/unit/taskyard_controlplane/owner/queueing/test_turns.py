"""Sessions take turns by the time that their runs take."""

from collections import Counter
from typing import Any

import pytest

from taskyard_contract.states import RunState
from taskyard_controlplane.domain.machine import restore
from taskyard_controlplane.domain.model import Run, Template
from taskyard_controlplane.owner.peers.client_session import ClientSession
from taskyard_controlplane.owner.queueing.ready_queues import ReadyQueue, ReadyRuns
from taskyard_controlplane.owner.queueing.standing import standing_of
from taskyard_controlplane.owner.queueing.turns import (
    EVERYBODY,
    LEAST_MS,
    MOST_MS,
    QUANTUM_MS,
    Share,
    cost_of,
)


class Queue:
    """A queue that sessions put runs into."""

    def __init__(self) -> None:
        self.ready = ReadyRuns()
        self.one, self.other = ReadyQueue(self.ready), ReadyQueue(self.ready)
        self.coroutines = ReadyQueue(self.ready, coroutines=True)
        self.sessions: dict[str, ClientSession] = {}
        self.open: dict[bytes, Run] = {}
        self._seq = 0

    def put(
        self, name: str, count: int = 1, ms: float = 0.0, need: ReadyQueue | None = None, **fields: bytes
    ) -> list[Run]:
        """Have a session submit runs that take so long; with an empty name nobody's session does."""
        template = Template(1, b"", b"")
        template.mean_ms = ms
        session = self.sessions.get(name)
        if session is None and name:
            session = self.sessions[name] = ClientSession(name.encode() * 16, name, b"", 0.0)
        runs = []
        for _ in range(count):
            self._seq += 1
            run_id = self._seq.to_bytes(16, "big")
            run = Run(self._seq, run_id, template, RunState.READY, None, session, None, 0, 0)
            run.caller_id = fields.get("caller")
            (need or self.one).place_of(run, standing_of(run, self.open)).append(run)
            runs.append(run)
        return runs

    def take(self, limit: int = 1, *needs: ReadyQueue, nested_only: bool = False, apart: bool = False) -> str:
        """Return whose runs are taken next, a letter for each."""
        served = set(needs or ((self.coroutines,) if apart else (self.one, self.other)))
        taken = self.ready.pop(served, limit, EVERYBODY if nested_only else (), apart)
        return "".join(run.session.name if run.session is not None else "-" for run in taken)  # type: ignore[attr-defined]

    def starts(self, count: int, limit: int = 1) -> str:
        return "".join(self.take(limit) for _ in range(count))


def test_sessions_take_turns_however_many_runs_one_has() -> None:
    it = Queue()
    it.put("a", 10_000, ms=5)
    it.put("b", 8, ms=5)
    assert it.starts(24) == "aaaabbbb" * 2 + "a" * 8


def test_a_session_that_was_alone_lets_the_next_one_start_at_once() -> None:
    it = Queue()
    it.put("a", 10_000, ms=5)
    assert it.take(100) == "a" * 100, "nobody else is there: no turn limits it"
    it.put("b", 1, ms=5)
    assert it.take() == "b"


def test_a_run_of_a_session_that_comes_waits_for_one_turn_of_each_other() -> None:
    it = Queue()
    for name in "abcd":
        it.put(name, 10_000, ms=5)
    it.starts(16)
    it.put("x")
    assert it.starts(17).index("x") == 16


def test_turns_are_of_equal_time_and_not_of_equal_numbers() -> None:
    it = Queue()
    it.put("a", 1_000, ms=200)
    it.put("b", 10_000, ms=1)
    count = Counter(it.starts(2_000))
    assert count["b"] * 1 == pytest.approx(count["a"] * 200, rel=0.15)


def test_who_is_in_debt_when_all_are_gets_as_many_turns_as_whose_turn_it_is() -> None:
    it = Queue()
    it.put("a", 1_000, ms=30)
    it.put("b", 1_000, ms=200)
    count = Counter(it.starts(700))
    assert count["a"] * 30 == pytest.approx(count["b"] * 200, abs=2 * QUANTUM_MS + 200)


def test_chunks_are_cut_where_a_turn_ends() -> None:
    it = Queue()
    for name in "ab":
        it.put(name, 10_000, ms=1)
    assert it.take(256) == "a" * int(QUANTUM_MS)
    assert it.take(256) == "b" * int(QUANTUM_MS)


def test_a_turn_is_at_least_one_run_and_what_is_too_much_is_paid_later() -> None:
    it = Queue()
    it.put("a", 9, ms=100)
    it.put("b", 1_000, ms=20)
    assert it.starts(13) == "a" + "b" * 5 + "a" + "b" * 5 + "a"


def test_debts_of_all_are_paid_at_once() -> None:
    it = Queue()
    for name in "abc":
        it.put(name, 5, ms=3_600_000)
    assert it.starts(9) == "abcabcabc"


def test_who_has_nothing_left_begins_anew_when_he_comes_back() -> None:
    it = Queue()
    it.put("a", 1, ms=10_000)
    it.put("b", 100, ms=20)
    assert it.starts(3) == "abb"
    it.put("a", 1, ms=10_000)
    assert it.starts(2) == "ab", "the debt is forgotten"


def test_runs_of_nobody_have_a_share_of_their_own() -> None:
    it = Queue()
    it.put("a", 100, ms=20)
    it.put("", 100, ms=20)
    assert it.starts(4) == "a-a-"


def test_a_subscriber_to_a_run_of_nobody_does_not_pay_for_it() -> None:
    it = Queue()
    [run] = it.put("")
    it.put("a")
    run.session = it.sessions["a"]
    assert standing_of(run, {}).share == 0


def test_what_is_nested_is_first_inside_its_session_only() -> None:
    it = Queue()
    [caller] = it.put("a", 1, ms=20)
    it.open[caller.run_id] = caller
    assert it.take() == "a"
    it.put("a", 2, ms=20)
    it.put("b", 2, ms=20)
    it.put("w", 2, ms=20, caller=caller.run_id)
    assert it.starts(6) == "wbwbaa", "what a worker submits takes the turns of its program"


def test_who_calls_what_an_ended_run_has_left_is_known_by_the_flow_run() -> None:
    it = Queue()
    [flow] = it.put("a")
    [run] = it.put("w", caller=b"gone")
    run.flow = flow
    assert standing_of(run, {}).share == it.sessions["a"].share


def test_runs_that_wait_for_each_other_stand_somewhere() -> None:
    it = Queue()
    [one], [two] = it.put("a"), it.put("a")
    one.needed_by, two.needed_by = two.run_id, one.run_id
    runs = {run.run_id: run for run in (one, two)}
    assert standing_of(one, runs).share == it.sessions["a"].share


def test_who_is_not_for_an_agent_loses_nothing_by_its_turns() -> None:
    it = Queue()
    it.put("a", 10, ms=20, need=it.other)
    for name in "bc":
        it.put(name, 10, ms=20)
    assert "".join(it.take(1, it.one) for _ in range(4)) == "bcbc"
    assert it.starts(3) == "abc"


def test_only_what_others_wait_for_is_taken_by_who_wants_no_more() -> None:
    it = Queue()
    [caller] = it.put("a")
    it.open[caller.run_id] = caller
    it.put("b", 3)
    it.put("a", 1, caller=caller.run_id)
    assert it.take(nested_only=True) == "a"
    assert it.take(nested_only=True) == ""
    assert it.starts(4) == "abbb"


def test_the_quickest_and_the_longest_runs_count_within_bounds() -> None:
    template = Template(1, b"", b"")
    for ms, cost in ((0.001, LEAST_MS), (5.0, 5.0), (1e9, MOST_MS)):
        template.mean_ms = ms
        assert cost_of(template) == cost


def test_what_runs_of_a_template_take_is_measured() -> None:
    template = Template(1, b"", b"")
    template.took(10, 10 * 200_000)
    assert template.mean_ms == pytest.approx(200, rel=0.01)
    for _ in range(4):
        template.took(64, 0)
    assert 0 < template.mean_ms < 1
    template.took(1, 0)
    assert template.mean_ms, "known, however quick"


def test_what_ended_in_the_queue_takes_no_turn() -> None:
    it = Queue()
    ended = it.put("a", 3, ms=20)
    it.put("b", 2, ms=20)
    for run in ended:
        restore(run, RunState.CANCELLED)
    assert it.starts(1) == "b"
    assert it.ready.sessions(0) == 1


def test_who_is_before_a_run_and_who_takes_turns_with_it_is_known() -> None:
    it = Queue()
    it.put("a", 5)
    first, second, third, _ = it.put("b", 4)
    it.put("b", 2, need=it.other)
    it.open[first.run_id] = first
    it.put("w", 3, caller=first.run_id)
    a, b = (it.sessions[name].share for name in "ab")

    def ahead_of(run: Run) -> dict[int, int]:
        found = it.ready.ahead_of(run, standing_of(run, it.open))
        assert all(each.priority == 0 for each in found)
        return {each.share: each.runs for each in found}

    assert ahead_of(third) == {a: 5, b: 3 + 2}
    assert ahead_of(second) == {a: 5, b: 3 + 1}
    [nested] = it.put("w", 1, caller=first.run_id)
    assert ahead_of(nested) == {a: 5, b: 3}
    elsewhere = Queue().put("a")[0]
    assert ahead_of(elsewhere) == {a: 5, b: 4 + 4 + 2}, "not in the queue: all are before it"
    assert it.ready.ahead_of(third, standing_of(third, it.open))[0].next_run.session is it.sessions["a"]


def test_less_urgent_runs_are_ahead_of_nothing() -> None:
    it = Queue()
    [run] = it.put("a")
    run.template.priority = 1
    assert [each.runs for each in it.ready.ahead_of(run, standing_of(run, {}))] == [1]
    run.template.priority = -1
    assert it.ready.ahead_of(run, standing_of(run, {})) == []


def test_slots_are_not_paid_for_with_turns_at_room_for_coroutines() -> None:
    it = Queue()
    it.put("a", 10, ms=60_000)
    it.put("a", 300, need=it.coroutines)
    it.put("b", 10_000, need=it.coroutines)
    assert it.starts(2) == "aa", "which takes slots for minutes"
    turn = int(QUANTUM_MS / LEAST_MS)
    assert it.take(256, apart=True) == "a" * turn
    assert it.take(256, apart=True) == "b" * turn
    assert it.take(256, apart=True) == "a" * (300 - turn)


def test_coroutines_that_share_processes_cost_nobody_a_turn_at_slots() -> None:
    it = Queue()
    for name in "ab":
        it.put(name, 10, ms=10)
        it.put(name, 1_000, ms=60_000, need=it.coroutines)
    assert it.take() == "a"
    assert it.take(256, apart=True) == "a" * int(QUANTUM_MS / LEAST_MS), "its number counts, not its time"
    assert it.starts(5) == "abbaa"


def test_coroutines_of_a_session_that_comes_with_other_runs_first_take_turns_as_well() -> None:
    it = Queue()
    it.put("a", 1, ms=10)
    it.put("b", 1_000, need=it.coroutines)
    assert it.take(256, apart=True) == "b" * 256, "nobody else has any"
    it.put("a", 1, need=it.coroutines)
    assert it.take(256, apart=True) == "a"


def test_who_leaves_is_in_no_ring_any_more() -> None:
    it = Queue()
    it.put("a", 1, need=it.coroutines)
    it.put("b", 1)
    assert it.take(apart=True) == "a"
    assert it.take() == "b"
    turns = it.ready.turns(0)
    assert (turns.shares, turns._slots.left_ms, turns._apart.left_ms) == ({}, {}, {})
    [gone] = it.put("a", 1, need=it.coroutines)
    restore(gone, RunState.CANCELLED)
    it.ready.tidy()
    turns = it.ready.turns(0)
    assert (turns.shares, turns._slots.left_ms, turns._apart.left_ms) == ({}, {}, {})


def test_thousands_whose_runs_nobody_can_execute_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    it = Queue()
    for number in range(1_000):
        it.put(f"other {number}", need=it.other)
    for name in "ab":
        it.put(name, 8, ms=10)
    looked = Counter[bool]()
    first = Share.first

    def counted(share: Share, *given: Any) -> Any:
        looked[it.one in given[0]] += 1
        return first(share, *given)

    monkeypatch.setattr(Share, "first", counted)
    assert "".join(it.take(1, it.one) for _ in range(16)) == "aabb" * 4
    assert looked[True] < 50
    assert it.take(1, ReadyQueue(it.ready)) == ""
    assert looked[True] < 50
    assert it.take(1, it.other) == "other 0", "they have kept their places"


def test_what_is_left_of_another_need_is_not_looked_for_again_and_found_when_it_comes_back() -> None:
    it = Queue()
    it.put("a", 1, need=it.other)
    it.put("a", 1)
    it.put("b", 2)
    assert it.take(1, it.one) == "a"
    assert it.take(1, it.one) == "b"
    assert it.take(1, it.one) == "b"
    assert not it.take(1, it.one)
    assert it.one not in it.ready.turns(0)._by_need, "nobody has any"
    it.put("a", 1)
    assert it.take(1, it.one) == "a"
    assert it.take(1, it.other) == "a"
    assert it.ready.turns(0)._by_need == {}


def test_who_leaves_and_comes_again_comes_last_and_owes_nothing() -> None:
    queue = Queue()
    queue.put("a", ms=MOST_MS)
    assert queue.take() == "a"
    queue.put("b", 2, ms=QUANTUM_MS)
    queue.put("a", 2, ms=QUANTUM_MS)
    assert queue.starts(4) == "baba"


def test_who_comes_again_with_something_else_has_it_found() -> None:
    queue = Queue()
    for need in (queue.one, queue.other, queue.coroutines, queue.one):
        queue.put("a", need=need)
        assert queue.take(1, need) == "a"
        assert queue.take(1, need) == ""
        queue.put("a", need=need)
        assert queue.take(1, *{queue.one, queue.other, queue.coroutines} - {need}) == ""
        assert queue.take(1, need) == "a"


def test_priorities_that_nobody_has_runs_at_are_forgotten_when_others_come() -> None:
    queue = Queue()
    for priority in range(50):
        assert queue.ready.turns(priority).shares == {}
    assert queue.ready.sessions(0) == 0
    assert len(queue.ready._turns) == 1
