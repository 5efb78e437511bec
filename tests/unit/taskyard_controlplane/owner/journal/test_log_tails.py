"""Log tails: whoever follows a log is woken by what concerns it, and by nothing else."""

from collections import Counter
from contextlib import ExitStack

from taskyard_contract.states import RunKind, RunState
from taskyard_controlplane.domain.model import Run, Template
from taskyard_controlplane.owner.journal.commit import Commit
from taskyard_controlplane.owner.journal.log_tails import LogTails
from taskyard_controlplane.owner.journal.rows import log_row
from taskyard_controlplane.owner.journal.run_book import RunBook

TASK = Template(1, b"t", b"", name="task")
FLOW = Template(2, b"f", b"", kind=RunKind.FLOW, name="flow")


def run(seq: int, state: int, flow: Run | None = None, of: Template = TASK) -> Run:
    return Run(seq, seq.to_bytes(16, "big"), of, state, flow, None, None, 0, 0)


FLOW_RUN = run(1, RunState.RUNNING, of=FLOW)


def woken_by(commit: Commit, book: RunBook | None = None) -> Counter[int]:
    """Return which of those who follow the logs of the runs 1 to 5 a commit wakes."""
    tails, woken = LogTails(book or RunBook()), Counter[int]()
    with ExitStack() as stack:
        for seq in range(1, 6):
            stack.enter_context(tails.follow(seq, lambda seq=seq: woken.update([seq])))  # type: ignore[misc]
        assert len(tails) == 5
        tails.committed(commit)
    assert not tails.waiting, "nothing is kept of those that left"
    return woken


def test_records_wake_those_of_the_run_and_of_its_flow_run():
    commit = Commit(1)
    inside = run(2, RunState.RUNNING, FLOW_RUN)
    for of in (inside, inside, run(4, RunState.RUNNING), run(9, RunState.RUNNING), FLOW_RUN):
        commit.rows.logs.append(log_row(of, RunBook().flow_seq_of(of), 5, 20, "l", "text", 9))
    assert woken_by(commit) == {1: 1, 2: 1, 4: 1}


def test_an_end_wakes_them_too_and_what_goes_on_does_not():
    commit = Commit(1)
    commit.effects = [
        (run(2, RunState.COMPLETED, FLOW_RUN), 0),
        (run(3, RunState.READY, FLOW_RUN), 0),
        (run(4, RunState.FAILED), 0),
        (run(9, RunState.FAILED), 0),
    ]
    assert woken_by(commit) == {1: 1, 2: 1, 4: 1}


def test_the_end_of_a_run_whose_flow_run_ended_before_a_restart_wakes_those_of_the_flow_run():
    book, commit = RunBook(), Commit(1)
    book.strays[2] = 1
    commit.effects = [(run(2, RunState.COMPLETED), 0)]
    assert woken_by(commit, book) == {1: 1, 2: 1}


def test_several_may_follow_the_same_log():
    tails, woken = LogTails(RunBook()), list[str]()
    commit = Commit(1)
    commit.rows.logs.append(log_row(run(2, RunState.RUNNING), 0, 5, 20, "l", "text", 9))
    with tails.follow(2, lambda: woken.append("first")):
        with tails.follow(2, lambda: woken.append("second")):
            tails.committed(commit)
        tails.committed(commit)
    assert woken == ["first", "second", "first"]
    assert not tails.waiting
