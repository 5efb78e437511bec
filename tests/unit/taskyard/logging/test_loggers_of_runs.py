"""Row 69: loggers for hooks, and for tests that call bare functions."""

import logging
from typing import Any

import pytest

from taskyard import get_run_logger, task
from taskyard.context import FlowRun, FlowRunContext, TaskRun, TaskRunContext
from taskyard.exceptions import MissingContextError
from taskyard.logging import disable_run_logger, flow_run_logger, task_run_logger

TASK_RUN, FLOW_RUN = TaskRun(b"t" * 16, "f-0"), FlowRun(b"f" * 16, "brave-otter")


@task
def logs() -> int:
    get_run_logger().error("not to be seen")
    return 1


def test_a_bare_function_may_log_where_run_loggers_are_disabled(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(MissingContextError):
        logs.fn()
    with disable_run_logger():
        assert logs.fn() == 1
    with pytest.raises(MissingContextError):
        logs.fn()
    assert caplog.records == []


def test_runs_are_silent_where_run_loggers_are_disabled() -> None:
    sent: list[Any] = []
    with TaskRunContext(None, TASK_RUN, log_sink=sent.append):
        with disable_run_logger():
            get_run_logger().error("dropped")
        get_run_logger().error("kept")
    assert [entry[4] for entry in sent] == ["kept"]


def test_what_was_disabled_before_stays_so() -> None:
    logger = logging.getLogger("taskyard.flow_runs")
    logger.disabled = True
    try:
        with disable_run_logger():
            pass
        assert logger.disabled
    finally:
        logger.disabled = False


def test_a_hook_logs_for_the_run_it_is_called_with() -> None:
    sent: list[Any] = []
    with FlowRunContext(None, FLOW_RUN, log_sink=sent.append), TaskRunContext(None, TASK_RUN):
        flow_run_logger(FLOW_RUN, flow=None).warning("of the flow")
        with pytest.raises(MissingContextError, match="run 'other' is not active here"):
            task_run_logger(TaskRun(b"o" * 16, "other"))
    with TaskRunContext(None, TASK_RUN, log_sink=sent.append):
        task_run_logger(TASK_RUN).warning("of the task")
    assert [(entry[0], entry[4]) for entry in sent] == [
        (FLOW_RUN.raw_id, "of the flow"),
        (TASK_RUN.raw_id, "of the task"),
    ]
