"""The plugin for pytest: a yard for the whole session, and a clean view of it for each test that asks.

pytest loads it by itself, in every session of an environment that has Taskyard, so it imports nothing and
starts nothing before a test uses one of its fixtures.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, TypeVar

import pytest

if TYPE_CHECKING:
    from taskyard.testing.harness import Harness

T = TypeVar("T", int, float)
_RUNNER: Final = "taskyard_task_runner"
_SLOTS: Final = "taskyard_slots"
_FACTOR: Final = "taskyard_retry_delay_factor"
_IN_PROCESS: Final = "taskyard_in_process"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what can be chosen."""
    runner = "who executes the tasks of flows: agents or threads (default: $TASKYARD_TASK_RUNNER or agents)"
    parser.getgroup("taskyard").addoption(
        "--taskyard-task-runner", choices=["agents", "threads"], default=None, help=runner
    )
    parser.addini(_RUNNER, runner, default="")
    in_process = "no other processes: server and tasks are threads of the tests, whose time can be advanced"
    parser.getgroup("taskyard").addoption(
        "--taskyard-in-process", action="store_true", default=None, help=in_process
    )
    parser.addini(_IN_PROCESS, in_process, type="bool", default=False)
    parser.addini(_SLOTS, "workers of the agent in tests (default: one for each processor)", default="")
    parser.addini(_FACTOR, "what delays before retries are multiplied with in tests (default: 0)", default="")


@pytest.fixture(scope="session")
def taskyard_yard(request: pytest.FixtureRequest) -> "Iterator[Harness]":
    """A throw-away yard for the rest of the session: all flows and tasks that are called run in it."""
    from taskyard.testing.utilities import taskyard_test_harness

    with taskyard_test_harness(
        task_runner=request.config.getoption(_RUNNER) or request.config.getini(_RUNNER) or None,
        slots=_number(request.config, _SLOTS, int),
        retry_delay_factor=_number(request.config, _FACTOR, float),
        in_process=request.config.getoption(_IN_PROCESS) or request.config.getini(_IN_PROCESS) or None,
    ) as harness:
        yield harness


@pytest.fixture
def taskyard_harness(taskyard_yard: "Harness") -> "Iterator[Harness]":
    """The same yard, in which this test meets no cached result and no flow run of another one."""
    with taskyard_yard.fresh():
        yield taskyard_yard


def _number(config: pytest.Config, name: str, read: Callable[[str], T]) -> T | None:
    word = config.getini(name)
    try:
        return read(word) if word else None
    except ValueError:
        raise pytest.UsageError(f"{name} is '{word}', which is no number") from None
