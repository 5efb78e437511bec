"""The transaction that a task run is by itself, in the process that executes it."""

from typing import Any, NoReturn

from taskyard._data.runs.transactions import TransactionState
from taskyard._engine.results.records import ResultRecord, ResultRecordMetadata
from taskyard._engine.transactions.contexts import Transaction
from taskyard.context import TaskRunContext
from taskyard.exceptions import ConfigurationError
from taskyard.logging import get_run_logger
from taskyard.utilities.annotations import NotSet


class _OfRun(Transaction):
    """The transaction of the run that is executed here."""

    def read(self) -> Any:
        """Return a record of the value that the run's function has returned."""
        return ResultRecord(metadata=ResultRecordMetadata(storage_key=self.key), result=self._staged_value)


class _PartOfAnother(_OfRun):
    """That of a run inside a transaction of whoever submitted it: nobody would see its values."""

    def set(self, name: str, value: Any) -> NoReturn:
        """Refuse.

        Raises:
            ConfigurationError: Always.
        """
        raise _elsewhere(f"set the value '{name}'", "return it from the task, and set it there")

    def get(self, name: str, default: Any = NotSet) -> NoReturn:
        """Refuse.

        Raises:
            ConfigurationError: Always.
        """
        raise _elsewhere(f"get the value '{name}'", "pass it to the task as an argument")


def _elsewhere(what: str, instead: str) -> ConfigurationError:
    return ConfigurationError(
        f"a task cannot {what} of the transaction around its call, which is in the process that submitted the"
        f" run: {instead}"
    )


def own_transaction(context: TaskRunContext) -> Transaction:
    """Return the transaction of a run; made when it is first asked for, because most runs never do."""
    found: Transaction | None = getattr(context, "own_transaction", None)
    if found is None:
        kind = _PartOfAnother if context.task is not None and context.task.is_staged else _OfRun
        found = kind(
            key=str(context.task_run_id), state=TransactionState.ACTIVE, logger=get_run_logger(context)
        )
        context.own_transaction = found
    return found
