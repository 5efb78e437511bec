"""The run book: who asks for the runs of a session or a flow run gets these, in order, and no others."""

import pytest

from taskyard_contract.states import RunKind, RunState
from taskyard_controlplane.domain.model import Run, Template
from taskyard_controlplane.owner.journal import run_book
from taskyard_controlplane.owner.journal.run_book import RunBook
from taskyard_controlplane.owner.peers.client_session import ClientSession

TASK = Template(1, b"t", b"", name="task")
FLOW = Template(2, b"f", b"", kind=RunKind.FLOW, name="flow")


def session(number: int) -> ClientSession:
    return ClientSession(bytes([number]) * 16, "client", b"", 0.0)


def run(seq: int, of: Template = TASK, *, flow: Run | None = None, owner: ClientSession | None = None) -> Run:
    return Run(seq, seq.to_bytes(16, "big"), of, RunState.READY, flow, owner, None, 0, 0)


def test_runs_are_found_by_id_session_and_flow_run():
    book, one, two = RunBook(), session(1), session(2)
    flow = run(1, FLOW, owner=one)
    book.add(flow)
    inside = [run(seq, flow=flow, owner=one) for seq in (2, 3)]
    book.add_alike([each.run_id for each in inside], inside)
    alone = run(4, owner=two)
    book.add(alone)
    assert list(book.runs.values()) == [flow, *inside, alone]
    assert book.of_session(one) == [flow, *inside]
    assert book.of_session(two) == [alone]
    assert book.inside(flow) == inside
    assert book.flows_by_seq == {1: flow}


def test_a_run_that_is_handed_over_belongs_to_the_other_session_alone():
    book, one, two = RunBook(), session(1), session(2)
    task, flow = run(1, owner=one), run(2, FLOW, owner=one)
    for each in (task, flow):
        book.add(each)
        book.hand_over(each, two)
    assert (task.session, flow.session) == (two, two)
    assert (book.of_session(one), book.of_session(two)) == ([], [task, flow])
    assert (one.executing, two.executing) == ({}, {flow.run_id: flow})


def test_a_run_without_a_session_can_get_one():
    book, one = RunBook(), session(1)
    task = run(1)
    book.add(task)
    book.hand_over(task, one)
    assert book.of_session(one) == [task]


def test_nothing_is_kept_of_runs_that_are_gone():
    book, one = RunBook(), session(1)
    flow = run(1, FLOW, owner=one)
    inside = [run(2, flow=flow, owner=one), run(3, flow=flow)]
    book.add(flow)
    book.add(inside[0])
    book.add(inside[1], read_back=True)
    book.ended(flow)
    assert book.inside(flow) == inside, "they end later than their flow run"
    for each in inside:
        book.ended(each)
    assert not any(book.kept().values())
    assert one.executing == {}


def test_a_run_that_was_never_recorded_does_not_take_the_real_one_along():
    book = RunBook()
    real, other = run(1), run(2)
    other.run_id = real.run_id
    book.add(real)
    book.remove(other)
    assert book.runs == {real.run_id: real}


def test_the_lowest_number_is_that_of_the_oldest_run_wherever_it_came_from():
    book = RunBook()
    assert book.low_seq() is None
    runs = {seq: run(seq) for seq in (5, 6, 7)}
    book.add_alike([each.run_id for each in runs.values()], list(runs.values()))
    assert book.low_seq() == 5
    back = run(3)
    book.add(back, read_back=True)
    assert book.low_seq() == 3
    book.ended(runs[5])
    assert book.low_seq() == 3
    book.ended(back)
    assert book.low_seq() == 6


def test_ends_are_remembered_for_a_while(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(run_book, "MAX_RECENT", 2)
    monkeypatch.setattr(run_book, "MAX_RECENT_BYTES", 4)
    book = RunBook()
    sizes = [0, 0, 0, 0, 0, 5, 4]
    for seq, size in enumerate(sizes):
        each = run(seq)
        each.result = bytes(size)
        book.add(each)
        book.ended(each)
        book.forget_old()
    kept = [int.from_bytes(run_id, "big") for run_id in book.recent]
    assert kept == [2, 3, 4, 6], "two at least, four at most, and nothing large"


def test_ends_are_forgotten_after_a_while_however_few_they_are(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(run_book, "RECENT_ROUNDS", 2)
    book = RunBook()

    def end(*seqs: int) -> None:
        for seq in seqs:
            book.add(each := run(seq))
            book.ended(each)

    def kept_after_upkeep() -> list[int]:
        book.upkeep()
        return [int.from_bytes(run_id, "big") for run_id in book.recent]

    assert kept_after_upkeep() == []
    end(1, 2)
    assert kept_after_upkeep() == [1, 2]
    end(3)
    assert kept_after_upkeep() == [1, 2, 3]
    assert kept_after_upkeep() == [3], "what was there two rounds ago is not recent any more"
    assert kept_after_upkeep() == []
    end(4)
    assert kept_after_upkeep() == [4]
