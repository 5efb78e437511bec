"""Flow runs by their ids: read them, wait for them, read their logs, whichever program they belong to; resume
those that have failed.

Looking has no consequence for a run. Futures do all this for what this program has submitted.
"""

from typing import TYPE_CHECKING, Any, Literal, NoReturn
from uuid import UUID

from taskyard._data.runs.recorded import RunLog, RunLogs, flow_run_of
from taskyard._data.runs.records import FlowRun
from taskyard._data.runs.resume_plan import PlannedCall, PlannedRuns, ResumePlan
from taskyard._engine.recorded_runs.run_by_id import RunById
from taskyard._missing_features import absent_names
from taskyard_contract.states import RunKind

if TYPE_CHECKING:
    from taskyard.flows import Flow

__all__ = [
    "FlowRun",
    "PlannedCall",
    "PlannedRuns",
    "ResumePlan",
    "RunLog",
    "RunLogs",
    "apause_flow_run",
    "aresume_flow_run",
    "asuspend_flow_run",
    "await_flow_run",
    "flow_run_logs",
    "pause_flow_run",
    "plan_resumption",
    "read_flow_run",
    "resume_flow",
    "resume_flow_run",
    "suspend_flow_run",
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


def resume_flow(
    flow_run_id: UUID | str,
    *,
    flow: "Flow[..., Any] | None" = None,
    entrypoint: str | None = None,
    changed_code: Literal["reuse", "rerun"] = "reuse",
    completed: bool = False,
    return_state: bool = False,
) -> Any:
    """Take up a flow run that failed, crashed or was cancelled, in this process, and return its value.

    Its body runs once more, as the next attempt of the same run. Calls of tasks that had completed return
    what they had returned; everything else is executed.

    Args:
        flow_run_id: The run.
        flow: Its flow; loaded from where the run has recorded it when left out.
        entrypoint: Where to load the flow from instead: ``path.py:flow`` or ``module:flow``.
        changed_code: Whether results of tasks whose function was changed since are reused, or these tasks run
            again.
        completed: Whether it may have completed.
        return_state: Whether to return its final state, and raise nothing that the flow raised.

    Returns:
        What the flow returns; of an asynchronous flow a coroutine.

    Raises:
        RunNotFound: There is no such flow run.
        RunNotResumable: It has not ended, has completed, or was resumed by somebody else.
        MissingFlowError: Its flow cannot be loaded.
        Exception: Whatever the flow raised.
    """
    ended, found = _ended_and_flow(flow_run_id, flow, entrypoint, completed)
    return ended.execute(found, changed_code, completed=completed, return_state=return_state)


def plan_resumption(
    flow_run_id: UUID | str,
    *,
    flow: "Flow[..., Any] | None" = None,
    entrypoint: str | None = None,
    changed_code: Literal["reuse", "rerun"] = "reuse",
    completed: bool = False,
) -> ResumePlan:
    """Return what `resume_flow` would reuse and what it would execute. Nothing is changed.

    The body of the flow runs, with whatever it does itself; of the tasks that it calls none is executed.
    Where it asks for a result that is not there yet the plan ends.

    Args:
        flow_run_id: The run.
        flow: As for `resume_flow`, as are all others.
        entrypoint: See there.
        changed_code: See there.
        completed: See there.

    Raises:
        RunNotFound: There is no such flow run.
        RunNotResumable: It has not ended, or has completed.
        MissingFlowError: Its flow cannot be loaded.
    """
    ended, found = _ended_and_flow(flow_run_id, flow, entrypoint, completed)
    plan: ResumePlan = ended.plan(found, changed_code)
    return plan


def _ended_and_flow(
    flow_run_id: UUID | str, flow: "Flow[..., Any] | None", entrypoint: str | None, completed: bool
) -> Any:
    from taskyard._engine.flow_runs.resuming import EndedFlowRun
    from taskyard.exceptions import MissingFlowError, ScriptError
    from taskyard.flows import load_flow_from_entrypoint

    ended = EndedFlowRun(flow_run_id, completed=completed)
    place = entrypoint or ended.entrypoint
    if flow is not None:
        return ended, flow
    name, how = ended.run.task_name, "say where it is: entrypoint='path.py:flow' (--entrypoint)"
    if not place:
        raise MissingFlowError(f"nobody has recorded where flow '{name}' is; {how}")
    try:
        found = load_flow_from_entrypoint(place, use_placeholder_flow=False)
    except (FileNotFoundError, ModuleNotFoundError, ScriptError, MissingFlowError) as error:
        if entrypoint:
            raise
        raise MissingFlowError(
            f"flow '{name}' cannot be loaded from '{place}', where it was: {error}; {how}"
        ) from error
    if found.name != name and not entrypoint:
        raise MissingFlowError(f"'{place}' is the flow '{found.name}' now, and not '{name}'; {how}")
    return ended, found


def pause_flow_run(
    wait_for_input: Any = None,
    timeout: int = 3600,
    poll_interval: int = 10,
    key: str | None = None,
) -> Any:
    """Wait in a flow until somebody lets it go on.

    Raises:
        NotSupported: Always; flow runs cannot be paused yet.
    """
    _refuse("pause_flow_run")


def suspend_flow_run(
    wait_for_input: Any = None,
    flow_run_id: UUID | None = None,
    timeout: int | None = 3600,
    key: str | None = None,
    **options: Any,
) -> Any:
    """End the process of a flow run, and go on with it later.

    Raises:
        NotSupported: Always; flow runs cannot be paused yet.
    """
    _refuse("suspend_flow_run")


def resume_flow_run(flow_run_id: UUID, run_input: dict[str, Any] | None = None) -> Any:
    """Let a flow run go on that was paused, or suspended.

    Raises:
        NotSupported: Always; flow runs cannot be paused yet.
    """
    _refuse("resume_flow_run")


def apause_flow_run(
    wait_for_input: Any = None,
    timeout: int = 3600,
    poll_interval: int = 10,
    key: str | None = None,
) -> Any:
    """Refuse, like `pause_flow_run`.

    Raises:
        NotSupported: Always; flow runs cannot be paused yet.
    """
    _refuse("apause_flow_run")


def asuspend_flow_run(
    wait_for_input: Any = None,
    flow_run_id: UUID | None = None,
    timeout: int | None = 3600,
    key: str | None = None,
    **options: Any,
) -> Any:
    """Refuse, like `suspend_flow_run`.

    Raises:
        NotSupported: Always; flow runs cannot be paused yet.
    """
    _refuse("asuspend_flow_run")


def aresume_flow_run(flow_run_id: UUID, run_input: dict[str, Any] | None = None) -> Any:
    """Refuse, like `resume_flow_run`.

    Raises:
        NotSupported: Always; flow runs cannot be paused yet.
    """
    _refuse("aresume_flow_run")


def _refuse(name: str) -> NoReturn:
    from taskyard._prefect_names import reasons
    from taskyard._refused_calls import refuse

    refuse(f"taskyard.flow_runs.{name}(...)", reasons.PAUSE)


if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
