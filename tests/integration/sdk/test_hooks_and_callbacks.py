"""What users hang on to flows and futures runs where it can do no harm."""

import asyncio
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from taskyard import flow, runtime, task
from taskyard.flow_runs import flow_run_logs
from taskyard.futures import Future
from taskyard.logging import flow_run_logger, task_run_logger

pytestmark = pytest.mark.usefixtures("plane")


@task
def large() -> bytes:
    return b"x" * 200_000


def test_async_hooks_of_async_flows_are_called() -> None:
    called: list[str] = []

    async def hook(flow: Any, run: Any, state: Any) -> None:
        called.append(state.type.value)

    @flow(on_completion=[hook])
    async def main() -> int:
        return 1

    assert asyncio.run(main()) == 1
    assert called == ["COMPLETED"]


def test_a_callback_may_ask_for_a_large_result() -> None:
    sizes: list[int] = []
    called = threading.Event()

    def look(future: Future[bytes]) -> None:
        sizes.append(len(future.result()))
        called.set()

    @flow
    def main() -> bool:
        large.submit().add_done_callback(look)
        return called.wait(10)

    assert main()
    assert sizes == [200_000]


def of_task(task: Any, run: Any, state: Any) -> None:
    task_run_logger(run, task).warning("hook of the task: %s", state.name)


def of_flow(flow: Any, run: Any, state: Any) -> None:
    flow_run_logger(run, flow).warning("hook of the flow: %s", state.name)


@task(on_running=[of_task], on_completion=[of_task])
def with_hooks() -> int:
    return 1


class Shown(logging.Handler):
    """Keeps what is shown of flow runs."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@pytest.fixture
def shown() -> Iterator[Shown]:
    """What is shown of flow runs during the test."""
    handler, logger = Shown(), logging.getLogger("taskyard.flow_runs")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@pytest.mark.parametrize("runner", ["agents", "threads"])
def test_row_69_hooks_log_for_their_runs(runner: str, monkeypatch: pytest.MonkeyPatch, shown: Shown) -> None:
    monkeypatch.setenv("TASKYARD_TASK_RUNNER", runner)

    @flow(on_running=[of_flow], on_completion=[of_flow])
    def main() -> list[str]:
        with_hooks()
        return [runtime.flow_run.id]

    (run_id,) = main()
    recorded = [log.message for log in flow_run_logs(run_id, follow=True)]
    assert [message for message in recorded if "hook" in message] == [
        "hook of the flow: Running",
        "hook of the task: Running",
        "hook of the task: Completed",
    ]
    assert "hook of the flow: Completed" in shown.messages, "nothing is recorded of a run that has ended"
