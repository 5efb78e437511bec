"""The order in which ready runs start."""

import pytest

from taskyard_contract.states import RunState
from taskyard_controlplane.domain.machine import restore
from taskyard_controlplane.domain.model import Run, Template
from taskyard_controlplane.owner.peers.client_session import ClientSession
from taskyard_controlplane.owner.queueing.lanes import FEW_NEEDS, MAX_CHUNK_BYTES
from taskyard_controlplane.owner.queueing.ready_queues import ReadyQueue, ReadyRuns
from taskyard_controlplane.owner.queueing.standing import standing_of
from taskyard_controlplane.owner.queueing.turns import EVERYBODY


def template(priority: int = 0) -> Template:
    return Template(1, b"", b"", priority=priority)


PLAIN = template()


def ready(number: int, of: Template = PLAIN, caller: bytes = b"", args: bytes = b"") -> Run:
    run = Run(number, bytes([number]) * 16, of, RunState.READY, None, None, args, 0, 0)
    run.caller_id = caller or None
    return run


CALLERS = {caller: ready(200) for caller in (b"p", b"q")}


def filled(*runs: Run) -> ReadyQueue:
    queue = ReadyQueue(ReadyRuns())
    for run in runs:
        put(queue, run)
    return queue


def beside(queue: ReadyQueue, *runs: Run) -> ReadyQueue:
    """Return a queue of the same name for another need."""
    other = ReadyQueue(queue.ready)
    for run in runs:
        put(other, run)
    return other


def put(queue: ReadyQueue, run: Run) -> None:
    queue.place_of(run, standing_of(run, CALLERS)).append(run)


def order(*queues: ReadyQueue, limit: int = 100, nested_only: bool = False) -> list[list[int]]:
    """Take everything that who can execute what stands in some queues gets, at most `limit` at a time."""
    taken = []
    while runs := queues[0].ready.pop(set(queues), limit, EVERYBODY if nested_only else ()):
        taken.append([run.seq for run in runs])
    return taken


def test_runs_start_in_the_order_they_came() -> None:
    assert order(filled(*map(ready, range(5))), limit=2) == [[0, 1], [2, 3], [4]]


def test_lower_priorities_come_first() -> None:
    assert order(filled(ready(0, template(5)), ready(1), ready(2, template(-3)))) == [[2], [1], [0]]


def test_a_chunk_holds_runs_of_one_template() -> None:
    other = template()
    assert order(filled(ready(0), ready(1, other), ready(2, other), ready(3))) == [[0], [1, 2], [3]]


def test_a_chunk_is_cut_where_it_grows_large() -> None:
    half = bytes(MAX_CHUNK_BYTES // 2)
    assert order(filled(*(ready(number, args=half) for number in range(3)))) == [[0, 1], [2]]


@pytest.mark.parametrize("field", ["headers", "args_blob", "name"])
def test_a_chunk_is_cut_where_what_is_beside_arguments_grows_large(field: str) -> None:
    half = "x" * (MAX_CHUNK_BYTES // 2)
    runs = [ready(number) for number in range(3)]
    for run in runs:
        setattr(run, field, half if field == "name" else half.encode())
    assert order(filled(*runs)) == [[0, 1], [2]]


def test_runs_that_are_not_ready_any_more_are_passed_over() -> None:
    runs = [ready(number) for number in range(4)]
    for run in runs:
        run.queued = True
    runs[0].state = runs[2].state = RunState.CANCELLED
    assert order(filled(*runs)) == [[1, 3]]
    assert not any(run.queued for run in runs)


def test_what_another_run_waits_for_comes_before_new_runs() -> None:
    assert order(filled(ready(0), ready(1), ready(2, caller=b"p"), ready(3, caller=b"p"))) == [[2, 3], [0, 1]]


def test_the_latest_family_comes_first_and_is_in_order_itself() -> None:
    low = template(5)
    runs = [
        ready(0, caller=b"p"), ready(1, caller=b"q"), ready(2, low, caller=b"q"),
        ready(3, caller=b"p"), ready(4, caller=b"q"),
    ]  # fmt: skip
    assert order(filled(*runs)) == [[1, 4], [2], [0, 3]]


def test_a_family_that_comes_back_is_the_latest_again() -> None:
    queue = filled(ready(0, caller=b"p"), ready(1, caller=b"q"))
    assert order(queue) == [[1], [0]]
    put(queue, ready(2, caller=b"q"))
    put(queue, ready(3, caller=b"p"))
    assert order(queue) == [[3], [2]]


def test_runs_of_a_session_inside_a_run_count_as_nested() -> None:
    inside = ready(1)
    inside.session = ClientSession(b"s" * 16, "worker", b"p" * 16, 0.0)
    assert order(filled(ready(0), inside)) == [[1], [0]]


def test_what_a_run_waits_for_is_as_urgent_as_that_run() -> None:
    assert order(filled(ready(0), ready(1, template(5), caller=b"p"), ready(2, template(-1)))) == [
        [2],
        [1],
        [0],
    ]


def test_several_queues_are_emptied_as_if_they_were_one() -> None:
    low = template(5)
    left = filled(ready(0), ready(3), ready(5, low), ready(6, caller=b"p"))
    right = beside(left, ready(1, template()), ready(4, template(-1)), ready(7, caller=b"q"))
    assert order(left, right) == [[4], [7], [6], [0, 3], [1], [5]]


def test_of_several_queues_only_what_others_wait_for_can_be_taken() -> None:
    left = filled(ready(0), ready(2, caller=b"p"))
    right = beside(left, ready(1))
    assert order(left, right, nested_only=True) == [[2]]
    assert order(left, right) == [[0], [1]]


def test_what_is_not_ready_any_more_is_not_first_in_any_queue() -> None:
    gone, nested = ready(0), ready(2, caller=b"p")
    left = filled(gone, ready(3))
    queues = left, beside(left, ready(1)), beside(left, nested)
    for run in (gone, nested):
        restore(run, RunState.CANCELLED)
    assert order(*queues) == [[1], [3]]
    assert not left.ready.sessions(0)


def test_what_nobody_here_can_execute_hides_nothing() -> None:
    left = filled(ready(0), ready(2, caller=b"p"))
    right = beside(left, ready(1), ready(3, caller=b"p"), ready(4, caller=b"q"))
    assert order(left) == [[2], [0]]
    assert order(right) == [[4], [3], [1]]


def test_of_many_needs_an_agent_gets_what_came_first_and_empty_ones_are_let_go() -> None:
    queue = filled(ready(0))
    others = [beside(queue, ready(number)) for number in range(1, 101)]
    everything = {queue, *others}
    assert [run.seq for run in queue.ready.pop({others[7], others[3]}, 9)] == [4]
    assert [queue.ready.pop(everything, 9)[0].seq for _ in range(50)] == [*range(4), *range(5, 51)]
    assert sum(1 for _ in queue.ready) == FEW_NEEDS  # what is empty is not looked through again and again
    put(others[3], ready(2))
    assert [queue.ready.pop(everything, 9)[0].seq for _ in range(51)] == [2, *range(51, 101)]
    assert queue.ready.pop(everything, 9) == []
