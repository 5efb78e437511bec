"""Tasks whose runs can be made before anybody executes them. What makes them is imported with the first."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic
from uuid import UUID

from taskyard._engine.definitions.decorated import P, R
from taskyard._engine.definitions.task_definition import TaskDefinition
from taskyard.context import RunContext
from taskyard.exceptions import ConfigurationError

if TYPE_CHECKING:
    from taskyard._created_runs import CreatedTaskRun


class CreatableTask(TaskDefinition[P, R], Generic[P, R]):
    """A task with the methods that make runs of it, and execute none."""

    async def create_run(
        self,
        client: Any = None,
        id: UUID | None = None,
        parameters: Mapping[str, Any] | None = None,
        flow_run_context: RunContext | None = None,
        parent_task_run_context: RunContext | None = None,
        wait_for: object = None,
        extra_task_inputs: Mapping[str, Any] | None = None,
        deferred: bool = False,
    ) -> "CreatedTaskRun":
        """Make a run, which `taskyard.task_engine.run_task` executes; a deferred one is submitted at once.

        The control plane records a run when it is submitted, so one that is not deferred is known to this
        process only, until it is executed.

        Args:
            client: Plays no role.
            id: The run's id; a new one when left out.
            parameters: Arguments by name. Futures in them are the run's inputs.
            flow_run_context: The flow run that it is to belong to; the one around the call when left out.
            parent_task_run_context: The task run that it is to belong to.
            wait_for: Runs that must have completed before.
            extra_task_inputs: Further inputs by name.
            deferred: Whether agents, or programs that serve the task, execute it.

        Raises:
            ConfigurationError: A deferred run is to have an id of the program's.
        """
        if not deferred:
            return await self.create_local_run(
                client, id, parameters, flow_run_context, parent_task_run_context, wait_for, extra_task_inputs
            )
        from taskyard import _created_runs

        if id is not None:
            raise ConfigurationError(
                f"a deferred run of '{self.name}' is given its id when it is submitted; leave out id"
            )
        return await _created_runs.submitted(self, parameters or {}, wait_for, extra_task_inputs or {})

    async def create_local_run(
        self,
        client: Any = None,
        id: UUID | None = None,
        parameters: Mapping[str, Any] | None = None,
        flow_run_context: RunContext | None = None,
        parent_task_run_context: RunContext | None = None,
        wait_for: object = None,
        extra_task_inputs: Mapping[str, Any] | None = None,
        deferred: bool = False,
    ) -> "CreatedTaskRun":
        """Make a run in this process, in the state Pending (deferred: Scheduled); see `create_run`."""
        from taskyard import _created_runs

        contexts = (parent_task_run_context, flow_run_context)
        inputs = extra_task_inputs or {}
        return _created_runs.created(self, id, parameters or {}, contexts, wait_for, inputs, deferred)
