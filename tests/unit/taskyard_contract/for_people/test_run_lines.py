"""What people are told of runs, word by word."""

import logging

import pytest

from taskyard_contract.for_people import run_lines
from taskyard_contract.states import RunKind, RunState, StateReason, StateType


def test_a_retry_says_which_attempt_why_and_when() -> None:
    why = run_lines.why_failed("ConnectionError", "line is busy", "")
    assert run_lines.failed_attempt(1, 3, why, 0.2) == (
        "Attempt 1 of 3 failed (ConnectionError: line is busy); next in 0.2 s"
    )


@pytest.mark.parametrize(
    ("delay", "when"),
    [(0, "at once"), (0.18273, "in 0.183 s"), (5, "in 5 s"), (90.04, "in 90 s"), (86_400, "in 86400 s")],
)
def test_when_is_said_as_people_say_it(delay: float, when: str) -> None:
    assert run_lines.failed_attempt(1, 2, "x", delay).endswith(f"; next {when}")


def test_a_lost_attempt_says_how_often_that_may_be() -> None:
    assert run_lines.lost_attempt(1, 3, "the worker process was killed by SIGKILL") == (
        "Attempt lost (the worker process was killed by SIGKILL); executed again at once, loss 1 of at most 3"
    )


@pytest.mark.parametrize(
    ("state", "reason", "message", "line"),
    [
        (RunState.COMPLETED, 0, "", "Completed()"),
        (RunState.COMPLETED, 0, "All states completed.", "Completed('All states completed.')"),
        (RunState.COMPLETED, StateReason.CACHED, "", "Cached(type=COMPLETED)"),
        (RunState.FAILED, 0, "boom", "Failed('boom')"),
        (RunState.FAILED, StateReason.TIMED_OUT, "too long", "TimedOut('too long', type=FAILED)"),
        (RunState.CRASHED, 0, "gone", "Crashed('gone')"),
        (RunState.CANCELLED, 0, "by ann", "Cancelled('by ann')"),
        (RunState.NOT_READY, 0, "upstream", "NotReady('upstream', type=PENDING)"),
    ],
)
def test_an_end_says_the_state_as_states_say_themselves(
    state: RunState, reason: int, message: str, line: str
) -> None:
    said = run_lines.finished(state, reason, "", message)
    assert said == f"Finished in state {line}"
    assert run_lines.is_end(said)


def test_an_end_is_one_line_whatever_was_raised() -> None:
    said = run_lines.finished(RunState.FAILED, 0, "", "first\nsecond")
    assert said.splitlines() == ["Finished in state Failed('first\\nsecond')"]


def test_an_end_after_retries_says_the_attempt() -> None:
    assert run_lines.finished(RunState.FAILED, 0, "", "x", 3, 3).endswith("Failed('x'), attempt 3 of 3")
    assert run_lines.finished(RunState.FAILED, 0, "", "x", 1, 1).endswith("Failed('x')")
    assert run_lines.finished(RunState.NOT_READY, 0, "", "x", 1, 3).endswith("type=PENDING)")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (("ValueError", "bad", "message"), "ValueError: bad"),
        (("ValueError", "", "message"), "ValueError"),
        (("", "", "by hand"), "by hand"),
        (("", "", ""), "no reason was given"),
        (("ValueError", "one\ntwo", ""), "ValueError: one ..."),
        (("X", "", "too long", StateReason.TIMED_OUT), "TimedOut: too long"),
    ],
)
def test_why_an_attempt_failed_fits_into_a_sentence(given: tuple[str, str, str], why: str) -> None:
    assert run_lines.why_failed(*given) == why


def test_a_long_reason_is_cut() -> None:
    assert len(run_lines.why_failed("ValueError", "x" * 100_000, "")) < 1100


def test_b7_upstream_names_the_run_and_its_error() -> None:
    assert run_lines.upstream_failed("bad-0", RunState.FAILED, "ValueError: boom") == (
        "Upstream task run 'bad-0' did not reach a 'COMPLETED' state: it failed: ValueError: boom"
    )
    assert run_lines.upstream_failed("bad-0", RunState.CANCELLED, "").endswith("state: it was cancelled")
    assert run_lines.upstream_failed("id", 0, "").endswith("'COMPLETED' state.")


def test_row_69_lines_of_a_runs_life() -> None:
    assert run_lines.created("get_url-0", "get_url") == "Created task run 'get_url-0' for task 'get_url'"
    assert run_lines.created("x", "f", RunKind.FLOW) == "Created flow run 'x' for flow 'f'"
    assert run_lines.executing("get_url-0") == "Executing 'get_url-0' immediately..."
    assert run_lines.submitted("get_url-0") == "Submitted task run 'get_url-0' for execution."


def test_levels() -> None:
    assert run_lines.level_of(RunState.COMPLETED) == logging.INFO
    assert run_lines.level_of(RunState.CANCELLED) == logging.WARNING
    assert {
        run_lines.level_of(state) for state in (RunState.FAILED, RunState.CRASHED, RunState.NOT_READY)
    } == {logging.ERROR}


def test_what_ended_together_is_counted() -> None:
    assert run_lines.ended_together(1) == "1 run inside it was cancelled"
    assert run_lines.ended_together(499_998) == "499,998 runs inside it were cancelled"


def test_the_text_of_a_state_names_its_type_where_the_name_does_not() -> None:
    assert run_lines.state_text("Mine", StateType.FAILED, None) == "Mine(type=FAILED)"
