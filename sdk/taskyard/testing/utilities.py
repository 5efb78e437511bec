"""Helpers for tests: a yard that is thrown away, settings that are others for a while, comparisons."""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock, MagicMock

from taskyard._missing_features import absent_names
from taskyard.settings import temporary_settings

if TYPE_CHECKING:
    from taskyard.flow_runs import FlowRun
    from taskyard.testing.harness import Harness

__all__ = [
    "AsyncMock",
    "MagicMock",
    "assert_does_not_warn",
    "exceptions_equal",
    "get_most_recent_flow_run",
    "taskyard_test_harness",
    "temporary_settings",
]


@contextmanager
def taskyard_test_harness(
    server_startup_timeout: float | None = 30,
    *,
    task_runner: str | None = None,
    slots: int | None = None,
    retry_delay_factor: float | None = None,
    in_process: bool | None = None,
) -> "Iterator[Harness]":
    """Have flows and tasks that are called inside run in a yard of their own, thrown away afterwards.

    It is a server and an agent, as a rule processes, with a temporary directory. The yard of the user, a
    server that TASKYARD_SERVER names and a storage that TASKYARD_RESULTS_DEFAULT_STORAGE names are not
    touched, and these variables are as before afterwards. A harness inside of another one is the same yard.

        with taskyard_test_harness():
            assert my_flow() == "done"

    Args:
        server_startup_timeout: How many seconds the start may take; None means the same as the default.
        task_runner: "agents" or "threads": who executes the tasks of flows that do not say it themselves.
            Without it TASKYARD_TASK_RUNNER decides, else agents.
        slots: How many workers the agent has; by default one for each processor.
        retry_delay_factor: What delays before retries are multiplied with, from 0 to 1. By default 0: what
            is to be repeated in ten minutes is repeated at once. 1 has tests wait for it.
        in_process: Have no other processes: the server is a thread of this one, whose clock `advance()` sets
            forward, and tasks are executed by threads.

    Yields:
        The yard, with `kill_agent()`, `restart_server()`, `advance()`, `clear_cache()` and `flow_runs()`.

    Raises:
        ConnectionFailed: It does not start; the end of its log is in the message.
        ExtraMissing: Server or agent are not installed; the message says how to.
        RuntimeError: There is one that was started with other options, or this is inside of a flow or task.
        ValueError: An option makes no sense.
    """
    from taskyard.testing.harness import STARTUP_SECONDS, harness
    from taskyard.testing.options import Options

    seconds = STARTUP_SECONDS if server_startup_timeout is None else server_startup_timeout
    with harness(Options(task_runner, slots, retry_delay_factor, in_process), seconds) as running:
        yield running


def exceptions_equal(a: BaseException, b: BaseException) -> bool:
    """Say whether two exceptions are of the same type and have the same arguments.

    Those that have travelled, as the exceptions of tasks do, are other objects than those that were raised,
    and Python compares exceptions as objects.
    """
    return a == b or (type(a) is type(b) and a.args == b.args)


@contextmanager
def assert_does_not_warn(ignore_warnings: Iterable[type[Warning]] = ()) -> Iterator[None]:
    """Fail when something warns inside of the block.

    Args:
        ignore_warnings: Categories that are let through.

    Raises:
        AssertionError: Something warned.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for category in ignore_warnings:
            warnings.simplefilter("ignore", category)
        try:
            yield
        except Warning as warning:
            raise AssertionError(f"there was a warning: {warning!r}") from warning


async def get_most_recent_flow_run(client: Any = None) -> "FlowRun":
    """Return the flow run that was submitted last, wherever calls from here go to.

    Args:
        client: Plays no role; programs written for Prefect give one.

    Raises:
        LookupError: There is none.
    """
    import asyncio

    return await asyncio.to_thread(_most_recent_flow_run)


def _most_recent_flow_run() -> "FlowRun":
    from uuid import UUID

    from taskyard._network.session.sessions import current_session
    from taskyard.flow_runs import read_flow_run
    from taskyard_api.v1 import run_service_pb2, states_pb2

    wanted = run_service_pb2.RunFilter(kind=states_pb2.RUN_KIND_FLOW)
    newest = next(iter(current_session().client().run_pages(wanted, 1))).runs
    if not newest:
        raise LookupError("there is no flow run yet")
    return read_flow_run(UUID(bytes=newest[0].run_id))


if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
