"""Flow runs by their ids: read them, wait for them, read their logs, whichever program they belong to.

Looking has no consequence for a run. Futures do all this for what this program has submitted.
"""

from typing import TYPE_CHECKING
from uuid import UUID

from taskyard._data.runs.recorded import RunLog, RunLogs, flow_run_of
from taskyard._data.runs.records import FlowRun
from taskyard._engine.recorded_runs.run_by_id import RunById
from taskyard._missing_features import absent_names
from taskyard_contract.states import RunKind

__all__ = [
    "FlowRun",
    "RunLog",
    "RunLogs",
    "await_flow_run",
    "flow_run_logs",
    "read_flow_run",
    "wait_for_flow_run",
]


def read_flow_run(flow_run_id: UUID | str) -> FlowRun:
    """Read a flow run as it is now. Its `state` has its result, or its exception, once it has ended.

    Args:
        flow_run_id: The run.

    Raises:
        RunNotFound: There is no such flow run.
    """
    run = RunById(flow_run_id, RunKind.FLOW)
    return flow_run_of(run.read(), run.decode)


def wait_for_flow_run(
    flow_run_id: UUID | str,
    timeout: float | None = None,
    poll_interval: float | None = None,
    *,
    log_states: bool = False,
    watch_logs: bool = False,
) -> FlowRun:
    """Wait until a flow run has ended, and read it; how it ended is its `state`.

    Args:
        flow_run_id: The run.
        timeout: Longest time to wait, in seconds; None waits as long as it takes.
        poll_interval: Plays no role, the server tells what happens. Programs written for Prefect name it.
        log_states: Whether to log each state it is in.
        watch_logs: Whether to show its log as it grows, as if it had been written here.

    Raises:
        FlowRunWaitTimeout: It did not end in time. It goes on.
        RunNotFound: There is no such flow run.
        ValueError: The code that waits belongs to that run.
    """
    run = RunById(flow_run_id, RunKind.FLOW)
    return flow_run_of(run.wait(timeout, log_states=log_states, with_log=watch_logs), run.decode)


async def await_flow_run(
    flow_run_id: UUID | str,
    timeout: float | None = None,
    poll_interval: float | None = None,
    *,
    log_states: bool = False,
    watch_logs: bool = False,
) -> FlowRun:
    """Wait like `wait_for_flow_run`, without blocking the event loop."""
    run = RunById(flow_run_id, RunKind.FLOW)
    ended = await run.wait_async(timeout, log_states=log_states, with_log=watch_logs)
    return flow_run_of(ended, run.decode)


def flow_run_logs(flow_run_id: UUID | str, *, follow: bool = False) -> RunLogs:
    """Iterate over the log of a flow run, those of the runs directly inside it among it.

    Its `removed_before` says up to when the beginning of the log was removed by retention, if it was.

    Args:
        flow_run_id: The run.
        follow: Whether to go on until the run has ended and its log is complete; otherwise what is there now.

    Raises:
        RunNotFound: There is no such run.
    """
    return RunById(flow_run_id, RunKind.FLOW).logs(follow=follow)


if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
