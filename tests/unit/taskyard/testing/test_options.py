"""What a harness can be started with, and what one that runs can be shared for."""

import os
from typing import Any

import pytest

from taskyard.testing.options import Options


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"task_runner": "dask"}, "'task_runner' must be one of agents, threads, got 'dask'"),
        ({"slots": 0}, "'slots' must be at least 1, got 0"),
        ({"retry_delay_factor": 1.5}, "'retry_delay_factor' must lie between 0 and 1, got 1.5"),
        ({"retry_delay_factor": -1.0}, "'retry_delay_factor' must lie between 0 and 1, got -1.0"),
        ({"retry_delay_factor": float("nan")}, "'retry_delay_factor' must lie between 0 and 1, got nan"),
        ({"in_process": True, "slots": 2}, "'in_process' leaves no agent"),
        ({"in_process": True, "task_runner": "agents"}, "'in_process' leaves no agent"),
    ],
)
def test_options_that_make_no_sense_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Options(**given)


def test_what_nobody_said_gets_a_value_for_the_programs() -> None:
    assert Options().complete() == Options(None, os.cpu_count() or 1, 0.0, False)
    assert Options("threads", 3, 0.5).complete() == Options("threads", 3, 0.5, False)
    assert Options(in_process=True).complete() == Options(None, None, 0.0, True)


def test_one_that_runs_differs_in_what_was_asked_for_only() -> None:
    running = Options("agents", 2, 0.0)
    assert Options().difference(running) == ""
    assert Options("threads", 2, 0.0).difference(running) == ""
    said = Options(slots=3, retry_delay_factor=1.0).difference(running)
    assert said == "slots=2, not 3, retry_delay_factor=0.0, not 1.0"
    assert Options(in_process=True).difference(running) == "in_process=None, not True"


def test_without_an_agent_no_task_can_have_another_process() -> None:
    running = Options(in_process=True).complete()
    assert Options("threads").difference(running) == ""
    assert Options("agents").difference(running) == "task_runner=threads, not agents"
