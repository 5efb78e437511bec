"""What people are told of waits: little, and nothing while all is in order."""

import logging
from typing import Any

from taskyard._network.session.wait_lines import WaitLine, lines_of
from taskyard_api.v1 import run_service_pb2 as pb
from taskyard_contract.states import RunState as S
from taskyard_contract.states import WaitReason as W


def wait(reason: W | int, message: str, **facts: Any) -> pb.Wait:
    return pb.Wait(reason=int(reason), message=message, **facts)  # type: ignore[arg-type]


def run(number: int, *waits: pb.Wait, state: int = S.READY) -> pb.Explanation:
    return pb.Explanation(run_id=bytes([number]) * 16, name=f"t-{number}", state=state, waits=waits)  # type: ignore[arg-type]


NO_GPU = wait(W.NO_AGENT_FOR_QUEUE, "no agent serves queue 'gpu'", queue="gpu", missing={"queue": "gpu"})
BEHIND_OTHERS = wait(
    W.QUEUED, "92 runs of flow 'x' are ahead", ahead=92, whose=[pb.RunsAhead(runs=92, name="x")]
)
BEHIND_OWN = wait(W.QUEUED, "7 runs of its own flow are ahead", ahead=7, executing=2)
EXECUTED = run(9, state=S.RUNNING)


def texts(lines: list[WaitLine]) -> list[str]:
    return [f"{line.name}: {line.text}" if line.name else line.text for line in lines]


def test_one_run() -> None:
    [line] = lines_of([run(1, NO_GPU)], 1)
    assert texts([line]) == ["t-1: waits: no agent serves queue 'gpu'"]
    assert line.level == logging.WARNING, "somebody has to do something"
    [line] = lines_of([run(1, BEHIND_OTHERS)], 1)
    assert line.level == logging.INFO


def test_a_thousand_runs_with_one_reason_are_one_line() -> None:
    some = [run(number, NO_GPU) for number in range(20)]
    assert texts(lines_of(some, 1_000)) == ["1,000 runs wait: no agent serves queue 'gpu'"]
    assert texts(lines_of(some[:3], 3)) == ["3 runs wait: no agent serves queue 'gpu'"]


def test_several_reasons_are_several_lines_those_of_most_runs_first() -> None:
    no_python = wait(W.NO_AGENT_HAS_PYTHON, "no agent runs Python 3.13", missing={"python": "3.13"})
    some = [run(1, no_python), *(run(number, NO_GPU) for number in range(2, 5))]
    assert texts(lines_of(some, 4)) == [
        "3 runs wait: no agent serves queue 'gpu'",
        "t-1: waits: no agent runs Python 3.13",
    ]
    assert texts(lines_of(some, 1_000)) == [
        "about 750 runs wait: no agent serves queue 'gpu'",
        "about 250 runs wait: no agent runs Python 3.13",
    ]


def test_of_very_many_reasons_only_some_are_told() -> None:
    some = [run(number, wait(W.AGENT_AWAY, f"agent {number}", agent_name=str(number))) for number in range(9)]
    assert len(lines_of(some, 9)) == 3


def test_nothing_is_said_while_something_executes() -> None:
    assert lines_of([run(1, BEHIND_OTHERS), EXECUTED], 2) == []
    assert lines_of([run(1, BEHIND_OWN), run(2, BEHIND_OTHERS)], 2) == []
    assert lines_of([run(1, BEHIND_OTHERS), run(2, state=S.COMPLETED)], 2) == [], "its result is on the way"


def test_but_what_nobody_can_execute_is() -> None:
    assert texts(lines_of([EXECUTED, run(1, NO_GPU), run(2, BEHIND_OWN)], 3)) == [
        "t-1: waits: no agent serves queue 'gpu'"
    ]


def test_the_cause_is_told_and_whose_it_is() -> None:
    upstream = wait(W.UPSTREAM, "1 upstream run has not ended: 'a-0'", runs_left=1)

    def caused_by(number: int) -> pb.Wait:
        cause = pb.Wait.FromString(NO_GPU.SerializeToString())
        cause.about.CopyFrom(pb.RunRef(run_id=bytes(16), name=f"a-{number}"))
        return cause

    one, two = run(1, upstream, caused_by(0)), run(2, upstream, caused_by(1))
    assert texts(lines_of([one], 1)) == ["t-1: waits for 'a-0': no agent serves queue 'gpu'"]
    assert texts(lines_of([one, one], 2)) == ["2 runs wait for 'a-0': no agent serves queue 'gpu'"]
    assert texts(lines_of([one, two], 2)) == [
        "2 runs wait for others, such as 'a-0': no agent serves queue 'gpu'"
    ]


def test_the_key_of_a_reason_does_not_change_with_its_numbers() -> None:
    def key(reason: pb.Wait) -> object:
        [line] = lines_of([run(1, reason)], 1)
        return line.key

    fewer = wait(W.QUEUED, "3 runs of flow 'x' are ahead", ahead=3, whose=[pb.RunsAhead(runs=3, name="x")])
    other = wait(W.QUEUED, "3 runs of flow 'y' are ahead", ahead=3, whose=[pb.RunsAhead(runs=3, name="y")])
    assert key(BEHIND_OTHERS) == key(fewer)
    assert len({key(fewer), key(other), key(NO_GPU), key(wait(W.NO_AGENT, "no agent is connected"))}) == 4


def test_a_reason_that_this_release_does_not_know_is_shown_as_it_is() -> None:
    assert texts(lines_of([run(1, wait(77, "the moon is full"))], 1)) == ["t-1: waits: the moon is full"]


def test_a_run_that_has_not_arrived() -> None:
    unknown = pb.Explanation(run_id=bytes(16))
    assert texts(lines_of([unknown], 1)) == ["a run waits: it has not reached the control plane yet"]
    assert texts(lines_of([unknown] * 2, 5)) == ["5 runs wait: it has not reached the control plane yet"]


def test_that_the_next_attempt_is_due_later_was_said_by_the_attempt_that_failed() -> None:
    due = wait(W.RETRY_DELAY, "attempt 2 is due in 8.0 s", due_us=1)
    [line] = lines_of([run(1, due)], 1)
    assert line.is_said
    assert texts([line]) == ["t-1: waits: attempt 2 is due in 8.0 s"]
    upstream = wait(W.UPSTREAM, "1 upstream run has not ended: 'a-0'", runs_left=1)
    cause = pb.Wait.FromString(due.SerializeToString())
    cause.about.name = "a-0"
    assert [line.is_said for line in lines_of([run(1, upstream, cause)], 1)] == [True]
    assert [line.is_said for line in lines_of([run(1, NO_GPU), run(2, due)], 2)] == [False, True]
