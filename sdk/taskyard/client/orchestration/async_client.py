"""The client for event loops: each call is made by the blocking one, in another thread."""

import asyncio
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

from taskyard._missing_features import explain_attribute
from taskyard.client.orchestration.artifact_calls import AsyncArtifactCalls
from taskyard.client.orchestration.sync_client import SyncTaskyardClient
from taskyard.client.schemas.filters import FlowFilter, FlowRunFilter, LogFilter, TaskRunFilter
from taskyard.client.schemas.objects import Flow, FlowRun, Log, TaskRun
from taskyard.client.schemas.responses import OrchestrationResult
from taskyard.client.schemas.sorting import FlowRunSort, FlowSort, LogSort, TaskRunSort
from taskyard.states import State


class TaskyardClient(AsyncArtifactCalls):
    """Asks a control plane for what it has recorded, and for the end of runs.

    `SyncTaskyardClient` says more about each call: arguments, answers and errors are the same. Use it as an
    asynchronous context manager.
    """

    _blocking: SyncTaskyardClient

    def __init__(self, api: str = "") -> None:
        """Mean a control plane; nothing is asked yet.

        Args:
            api: ``HOST:PORT`` or ``unix:PATH``; empty for the local yard.
        """
        self._blocking = SyncTaskyardClient(api)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self._blocking.close)

    def __enter__(self) -> Self:
        raise RuntimeError(
            "this client is asynchronous: write 'async with get_client()',"
            " or 'with get_client(sync_client=True)'"
        )

    def __exit__(self, *_: object) -> None: ...

    @property
    def api_url(self) -> str:
        """The address of the control plane."""
        return self._blocking.api_url

    async def api_healthcheck(self) -> Exception | None:
        """Say hello without patience; returns what went wrong, None when the control plane answers."""
        return await asyncio.to_thread(self._blocking.api_healthcheck)

    async def hello(self) -> str:
        """Say hello; returns the release of the control plane."""
        return await asyncio.to_thread(self._blocking.hello)

    async def api_version(self) -> str:
        """Return the release of the control plane."""
        return await asyncio.to_thread(self._blocking.api_version)

    async def read_flow_run(self, flow_run_id: UUID | str) -> FlowRun:
        """Read a flow run as it is now."""
        return await asyncio.to_thread(self._blocking.read_flow_run, flow_run_id)

    async def read_flow_runs(
        self,
        *,
        flow_filter: FlowFilter | None = None,
        flow_run_filter: FlowRunFilter | None = None,
        task_run_filter: TaskRunFilter | None = None,
        deployment_filter: None = None,
        work_pool_filter: None = None,
        work_queue_filter: None = None,
        sort: FlowRunSort | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[FlowRun]:
        """Read the flow runs that fit all filters."""
        return await asyncio.to_thread(
            self._blocking.read_flow_runs,
            flow_filter=flow_filter,
            flow_run_filter=flow_run_filter,
            task_run_filter=task_run_filter,
            deployment_filter=deployment_filter,
            work_pool_filter=work_pool_filter,
            work_queue_filter=work_queue_filter,
            sort=sort,
            limit=limit,
            offset=offset,
        )

    async def read_flow_run_states(self, flow_run_id: UUID | str) -> list[State[Any]]:
        """Read the states that a flow run has been in, oldest first; the last one has its value."""
        return await asyncio.to_thread(self._blocking.read_flow_run_states, flow_run_id)

    async def set_flow_run_state(
        self, flow_run_id: UUID | str, state: State[Any], force: bool = False
    ) -> OrchestrationResult[Any]:
        """Ask for the end of a flow run: its state is to be Cancelling or Cancelled."""
        return await asyncio.to_thread(self._blocking.set_flow_run_state, flow_run_id, state, force)

    async def read_task_run(self, task_run_id: UUID | str) -> TaskRun:
        """Read a task run as it is now."""
        return await asyncio.to_thread(self._blocking.read_task_run, task_run_id)

    async def read_task_runs(
        self,
        *,
        flow_filter: FlowFilter | None = None,
        flow_run_filter: FlowRunFilter | None = None,
        task_run_filter: TaskRunFilter | None = None,
        deployment_filter: None = None,
        sort: TaskRunSort | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[TaskRun]:
        """Read the task runs that fit, in the flow runs that fit, of the flows that fit."""
        return await asyncio.to_thread(
            self._blocking.read_task_runs,
            flow_filter=flow_filter,
            flow_run_filter=flow_run_filter,
            task_run_filter=task_run_filter,
            deployment_filter=deployment_filter,
            sort=sort,
            limit=limit,
            offset=offset,
        )

    async def read_task_run_states(self, task_run_id: UUID | str) -> list[State[Any]]:
        """Read the states that a task run has been in, oldest first; the last one has its value."""
        return await asyncio.to_thread(self._blocking.read_task_run_states, task_run_id)

    async def set_task_run_state(
        self, task_run_id: UUID | str, state: State[Any], force: bool = False
    ) -> OrchestrationResult[Any]:
        """Ask for the end of a task run, as `set_flow_run_state` does for a flow run."""
        return await asyncio.to_thread(self._blocking.set_task_run_state, task_run_id, state, force)

    async def read_flow(self, flow_id: UUID | str) -> Flow:
        """Read a flow by its id."""
        return await asyncio.to_thread(self._blocking.read_flow, flow_id)

    async def read_flow_by_name(self, flow_name: str) -> Flow:
        """Read a flow by its name."""
        return await asyncio.to_thread(self._blocking.read_flow_by_name, flow_name)

    async def read_flows(
        self,
        *,
        flow_filter: FlowFilter | None = None,
        flow_run_filter: FlowRunFilter | None = None,
        task_run_filter: TaskRunFilter | None = None,
        deployment_filter: None = None,
        work_pool_filter: None = None,
        work_queue_filter: None = None,
        sort: FlowSort | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[Flow]:
        """Read the flows that fit and have runs that fit, by their names."""
        return await asyncio.to_thread(
            self._blocking.read_flows,
            flow_filter=flow_filter,
            flow_run_filter=flow_run_filter,
            task_run_filter=task_run_filter,
            deployment_filter=deployment_filter,
            work_pool_filter=work_pool_filter,
            work_queue_filter=work_queue_filter,
            sort=sort,
            limit=limit,
            offset=offset,
        )

    async def read_logs(
        self,
        log_filter: LogFilter | None = None,
        limit: int | None = None,
        offset: int | None = None,
        sort: LogSort = LogSort.TIMESTAMP_ASC,
    ) -> list[Log]:
        """Read log records of runs; the filter has to say of which."""
        return await asyncio.to_thread(self._blocking.read_logs, log_filter, limit, offset, sort)

    if not TYPE_CHECKING:  # type checkers would stop checking names of attributes

        def __getattr__(self, name: str) -> Any:
            """Explain what is not there, in particular what it has in Prefect."""
            return explain_attribute("client", self, name)
