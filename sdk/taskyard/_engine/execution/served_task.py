"""A task as its module has it, executed where it was found: by its name, or by a reference to it.

Callers in other languages know no signature, so arguments that are no pickles are bound to it and converted
to the declared types before the function is called. All the rest is as with every task: hooks, context,
logger, calls of other tasks. How often a run is repeated, and for how long it may go on, its template says.
"""

from typing import Any

from taskyard._engine.definitions.parameter_types import ParameterValidator
from taskyard._engine.definitions.task_definition import TaskDefinition
from taskyard._engine.execution import reports
from taskyard._engine.execution.task_attempt import Report
from taskyard._engine.execution.task_body import TaskBody
from taskyard.exceptions import ParameterBindError, ParameterTypeError
from taskyard.logging import configure
from taskyard_contract.encodings import PICKLE
from taskyard_contract.execution import Invocation, WorkerHost


class ServedTask(TaskBody):
    """The code of a task that this process has imported."""

    def __init__(self, task: TaskDefinition[..., Any], *, shown: bool = False) -> None:
        """Serve a task; what it logs is sent, and `shown` here as well if that is wanted."""
        configure(console=shown)
        super().__init__(task, log_prints=False)
        self._validator = ParameterValidator(task.fn, task.signature, "Task")

    def call(
        self, invocation: Invocation, host: WorkerHost, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Report:
        """Execute one attempt, after its arguments have been made to fit."""
        args = self.task.prefix + args
        if invocation.encoding != PICKLE:
            try:
                args, kwargs = self._fitted(args, kwargs)
            except (ParameterBindError, ParameterTypeError) as error:
                return self.refused(invocation, host, reports.unfit(error, self.wire_of(invocation)))
        return super().call(invocation, host, args, kwargs)

    async def call_async(
        self, invocation: Invocation, host: WorkerHost, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Report:
        """Do so in the loop that is running."""
        args = self.task.prefix + args
        if invocation.encoding != PICKLE:
            try:
                args, kwargs = self._fitted(args, kwargs)
            except (ParameterBindError, ParameterTypeError) as error:
                return reports.unfit(error, self.wire_of(invocation))
        return await super().call_async(invocation, host, args, kwargs)

    def _fitted(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        signature = self.task.signature
        return signature.split(self._validator.validate(signature.bind(args, kwargs)))
