"""The client that blocks."""

from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

from taskyard._data.runs.recorded import details_of, from_entry
from taskyard._data.runs.tracking import tracked_flow_run
from taskyard._missing_features import explain_attribute
from taskyard._network.server.calls import Client
from taskyard.client.orchestration.artifact_calls import ArtifactCalls
from taskyard.client.orchestration.cancelling import cancelled
from taskyard.client.orchestration.refusals import refuse
from taskyard.client.reading import questions
from taskyard.client.reading.connection import Connection
from taskyard.client.reading.logs import read_logs
from taskyard.client.reading.schemas_of import flow_of, flow_run_schema, task_run_schema
from taskyard.client.reading.searching import bounds
from taskyard.client.schemas.filters import FlowFilter, FlowFilterId, FlowRunFilter, LogFilter, TaskRunFilter
from taskyard.client.schemas.objects import Flow, FlowRun, Log, TaskRun
from taskyard.client.schemas.responses import OrchestrationResult
from taskyard.client.schemas.sorting import FlowRunSort, FlowSort, LogSort, TaskRunSort
from taskyard.exceptions import ObjectNotFound, TaskyardError
from taskyard.states import State
from taskyard_contract.states import RunKind

if TYPE_CHECKING:
    from taskyard_api.v1.run_service_pb2 import Run

_HEALTH_SECONDS = 10.0
"""Somebody who asks whether the control plane is there expects an answer, which takes it milliseconds."""


class SyncTaskyardClient(ArtifactCalls):
    """Asks a control plane for what it has recorded, and for the end of runs.

    Looking has no consequence for a run. Use it as a context manager, or `close` it. May be used by several
    threads.
    """

    def __init__(self, api: str = "") -> None:
        """Mean a control plane; nothing is asked yet.

        Args:
            api: ``HOST:PORT`` or ``unix:PATH``; empty for the local yard.
        """
        self._connection = Connection(api)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; a further call opens another one."""
        self._connection.close()

    @property
    def api_url(self) -> str:
        """The address of the control plane."""
        return self._connection.address()

    def api_healthcheck(self) -> Exception | None:
        """Say hello without patience; returns what went wrong, None when the control plane answers."""
        try:
            with Client(self._connection.address(), _HEALTH_SECONDS) as calls:
                calls.server_info()
        except TaskyardError as error:
            return error
        return None

    def hello(self) -> str:
        """Say hello; returns the release of the control plane.

        Raises:
            ConnectionFailed: Nobody answers.
        """
        return self.api_version()

    def api_version(self) -> str:
        """Return the release of the control plane."""
        return self._connection.calls().server_info().version

    def read_flow_run(self, flow_run_id: UUID | str) -> FlowRun:
        """Read a flow run as it is now.

        Raises:
            ObjectNotFound: There is no such flow run.
        """
        return self._flow_run(self._connection.run(_id(flow_run_id), RunKind.FLOW))

    def read_flow_runs(
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
        """Read the flow runs that fit all filters.

        Args:
            flow_filter: Of which flows.
            flow_run_filter: Which runs of these.
            task_run_filter: Those in which a task run fits.
            deployment_filter: Refused: there are no deployments.
            work_pool_filter: Refused: there are no work pools.
            work_queue_filter: Refused: there are no work queues of pools.
            sort: In which order; newest first by default.
            limit: The most that are returned; 200 by default.
            offset: How many of the first are left out.

        Raises:
            SearchTooWide: Too many runs would have to be read.
            NotSupported: A filter is about something that does not exist here.
        """
        refuse(
            deployment_filter=deployment_filter,
            work_pool_filter=work_pool_filter,
            work_queue_filter=work_queue_filter,
        )
        order = FlowRunSort(sort or FlowRunSort.ID_DESC).value
        calls = self._connection.calls()
        found = questions.flow_runs(
            calls, flow_filter, flow_run_filter, task_run_filter, order, limit, offset
        )
        return [self._flow_run(run) for run in self._connection.with_arguments(found)]

    def read_flow_run_states(self, flow_run_id: UUID | str) -> list[State[Any]]:
        """Read the states that a flow run has been in, oldest first; the last one has its value.

        Raises:
            ObjectNotFound: There is no such flow run.
        """
        return self._states(_id(flow_run_id), RunKind.FLOW)

    def set_flow_run_state(
        self, flow_run_id: UUID | str, state: State[Any], force: bool = False
    ) -> OrchestrationResult[Any]:
        """Ask for the end of a flow run: its state is to be Cancelling or Cancelled. Its open runs end too.

        The state it is in then is in the answer: it is Cancelling until its program has taken note. It is
        an answer, and no error, that the run has ended before.

        Args:
            flow_run_id: The run.
            state: ``Cancelling()`` or ``Cancelled()``; its message says why, for people.
            force: Plays no role: no rule stands against cancelling a run.

        Raises:
            ObjectNotFound: There is no such flow run.
            NotSupported: It is another state. Those come from the program that executes the run.
        """
        return cancelled(self._connection, _id(flow_run_id), RunKind.FLOW, state)

    def read_task_run(self, task_run_id: UUID | str) -> TaskRun:
        """Read a task run as it is now.

        Raises:
            ObjectNotFound: There is no such task run.
        """
        return self._task_run(self._connection.run(_id(task_run_id), RunKind.TASK))

    def read_task_runs(
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
        """Read the task runs that fit, in the flow runs that fit, of the flows that fit.

        A subflow is among those of the flow run that called it: as a task run that is always in the state
        of the subflow. `FlowRun.parent_task_run_id` has its id, and `state_details.child_flow_run_id` of its
        state that of the subflow.

        Args:
            flow_filter: Of which flows.
            flow_run_filter: In which flow runs of these, at most 1,000.
            task_run_filter: Which task runs.
            deployment_filter: Refused: there are no deployments.
            sort: In which order; newest first by default.
            limit: The most that are returned; 200 by default.
            offset: How many of the first are left out.

        Raises:
            SearchTooWide: Too many runs would have to be read.
            NotSupported: A filter is about something that does not exist here.
        """
        refuse(deployment_filter=deployment_filter)
        order = TaskRunSort(sort or TaskRunSort.ID_DESC).value
        calls = self._connection.calls()
        found = questions.task_runs(
            calls, flow_filter, flow_run_filter, task_run_filter, order, limit, offset
        )
        return [self._task_run(run) for run in found]

    def read_task_run_states(self, task_run_id: UUID | str) -> list[State[Any]]:
        """Read the states that a task run has been in, oldest first; the last one has its value.

        Raises:
            ObjectNotFound: There is no such task run.
        """
        return self._states(_id(task_run_id), RunKind.TASK)

    def set_task_run_state(
        self, task_run_id: UUID | str, state: State[Any], force: bool = False
    ) -> OrchestrationResult[Any]:
        """Ask for the end of a task run, as `set_flow_run_state` does for a flow run."""
        return cancelled(self._connection, _id(task_run_id), RunKind.TASK, state)

    def read_flow(self, flow_id: UUID | str) -> Flow:
        """Read a flow by its id.

        Raises:
            ObjectNotFound: There is no run of such a flow.
            SearchTooWide: Too many flow runs would have to be read.
        """
        wanted = FlowFilter(id=FlowFilterId(any_=[_id(flow_id)]))
        runs = questions.flow_runs(self._connection.calls(), wanted, None, None, "ID_DESC", 1, 0)
        if not runs:
            raise ObjectNotFound(f"flow {flow_id} does not exist: there is no run of it")
        return flow_of(runs[0].task_name)

    def read_flow_by_name(self, flow_name: str) -> Flow:
        """Read a flow by its name.

        Raises:
            ObjectNotFound: There is no run of such a flow.
        """
        if not questions.has_flow(self._connection.calls(), flow_name):
            raise ObjectNotFound(f"flow '{flow_name}' does not exist: there is no run of it")
        return flow_of(flow_name)

    def read_flows(
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
        """Read the flows that fit and have runs that fit, by their names.

        Flows are known by their runs, so all flow runs that fit are looked through. The arguments are those
        of `read_flow_runs`.

        Raises:
            SearchTooWide: Too many runs would have to be read.
            NotSupported: A filter is about something that does not exist here.
        """
        refuse(
            deployment_filter=deployment_filter,
            work_pool_filter=work_pool_filter,
            work_queue_filter=work_queue_filter,
        )
        first, end = bounds(limit, offset)
        calls = self._connection.calls()
        names = questions.flow_names(calls, flow_filter, flow_run_filter, task_run_filter)
        backwards = FlowSort(sort or FlowSort.NAME_ASC) is FlowSort.NAME_DESC
        return [flow_of(name) for name in sorted(names, reverse=backwards)[first:end]]

    def read_logs(
        self,
        log_filter: LogFilter | None = None,
        limit: int | None = None,
        offset: int | None = None,
        sort: LogSort = LogSort.TIMESTAMP_ASC,
    ) -> list[Log]:
        """Read log records of runs; the filter has to say of which.

        Args:
            log_filter: Which records.
            limit: The most that are returned; 200 by default.
            offset: How many of the first are left out.
            sort: In which order.

        Raises:
            NotSupported: It is not said which runs wrote them.
            SearchTooWide: More than 200,000 records would have to be read.
        """
        return read_logs(self._connection.calls(), log_filter, limit, offset, sort)

    def _flow_run(self, run: "Run") -> FlowRun:
        return flow_run_schema(run, self._connection.decode, self._connection.read_again)

    def _task_run(self, run: "Run") -> TaskRun:
        return task_run_schema(run, self._connection.decode, self._connection.read_again)

    def _states(self, run_id: UUID, kind: RunKind) -> list[State[Any]]:
        run = self._connection.run(run_id, kind)
        now = (self._flow_run(run) if kind is RunKind.FLOW else self._task_run(run)).state
        entries = self._connection.calls().list_run_states(tracked_flow_run(run.run_id) or run.run_id)
        states = [from_entry(entry, details_of(run)) for entry in entries]
        if now.is_final() and states and states[-1].type is now.type:
            states[-1] = now
        return states

    if not TYPE_CHECKING:  # type checkers would stop checking names of attributes

        def __getattr__(self, name: str) -> Any:
            """Explain what is not there, in particular what it has in Prefect."""
            return explain_attribute("client", self, name)


def _id(given: UUID | str) -> UUID:
    """Return an id that may be given as text.

    Raises:
        ValueError: The text is no id.
    """
    if isinstance(given, UUID):
        return given
    try:
        return UUID(given)
    except (ValueError, AttributeError, TypeError):
        raise ValueError(f"{given!r} is no id; ids look like 01a22968-5ba6-7004-9081-9537dfca0000") from None
