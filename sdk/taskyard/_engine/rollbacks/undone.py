"""Hooks `on_rollback` where agents call them, because the flow run that would have done so was lost.

Invariant: each hook is a run of its own, so it is called once for each attempt that the control plane lets
begin, and again only where its agent was lost.
"""

from typing import Any, Final

from taskyard._data.runs.transactions import TransactionState
from taskyard._engine.results.records import ResultRecord, ResultRecordMetadata
from taskyard._engine.results.store import ResultStore
from taskyard._engine.submission.futures_by_id import TaskyardDistributedFuture
from taskyard._engine.submission.scope import Scope, current_scope, outside_scope
from taskyard._engine.transactions.base import BaseTransaction
from taskyard._engine.transactions.undoing import forget_result
from taskyard.exceptions import MissingResult, ResultStorageError, RunNotFound
from taskyard.logging import get_run_logger
from taskyard.states import Cancelled
from taskyard_contract.errors import TaskyardError
from taskyard_contract.ids import format_id
from taskyard_contract.states import FIRST_FINAL, RunState, StateReason

_FAILED: Final = (RunState.FAILED, RunState.CRASHED)


class _Lost(BaseTransaction):
    """A transaction as it was in a process that is gone."""

    def __init__(self, level: dict[str, Any], parent: BaseTransaction | None, future: Any) -> None:
        said = level["store"]
        store = None if said is None else ResultStore(**said)
        super().__init__(
            key=level["key"], store=store, state=TransactionState.ROLLED_BACK, logger=get_run_logger()
        )
        self._values = level["values"]
        self._parent = parent
        self._future = future

    def read(self) -> Any:
        """Return a record of the value of the run, or the one under its key."""
        if self._future is None:
            return super().read()
        metadata = ResultRecordMetadata(storage_key=self.key)
        return ResultRecord(metadata=metadata, result=self._future.result())

    def commit_as_child(self) -> bool:
        """Say that it was rolled back."""
        return False

    def roll_back_as_child(self) -> None:
        """Do nothing: those inside have runs of their own."""


def begun(facts: dict[str, Any]) -> Any:
    """Decide that a transaction is rolled back; not where the record says that it has committed."""
    if any(_has_committed(level) for level in facts["chain"]):
        return Cancelled(message="the transaction has committed: its record is there")
    return None


def undone(facts: dict[str, Any]) -> None:
    """Call one hook of a transaction."""
    logger = get_run_logger()
    if any(_has_committed(level) for level in facts["chain"][:-1]):
        logger.info("nothing is undone: a transaction around has committed, its record is there")
        return
    future = None
    if facts["run_id"]:
        future = TaskyardDistributedFuture[Any](facts["run_id"])
        if not _has_completed(facts["run_id"]):
            logger.info(
                "nothing is undone: task run %s of '%s' did nothing",
                format_id(facts["run_id"]),
                facts["name"],
            )
            return
    if facts["before"] and _run(facts["before"]).state in _FAILED:
        logger.error("the hook is not called, because the one before it failed")
        return
    if not facts["before"] and facts["task"] is not None and future is not None:
        _forget(facts, future)
    _rebuilt(facts, future).run_hook(facts["hook"], "rollback")


def _rebuilt(facts: dict[str, Any], future: Any) -> BaseTransaction:
    parent: BaseTransaction | None = None
    for level in reversed(facts["chain"][1:]):
        parent = _Lost(level, parent, None)
    return _Lost(facts["chain"][0], parent, future)


def _has_committed(level: dict[str, Any]) -> bool:
    """Say whether there is the record that a commit has written, of which nobody could say so any more."""
    if level["store"] is None or not level["written"]:
        return False
    try:
        record = ResultStore(**level["store"]).read(level["key"])
    except MissingResult:
        return False
    except ResultStorageError as error:
        get_run_logger().warning("whether the transaction has committed is not known: %s", error)
        raise
    return bool(record.metadata.transaction == level["commit_id"])


def _has_completed(run_id: bytes) -> bool:
    """Say whether a task run has done something that is to be undone."""
    try:
        run = _run(run_id)
    except RunNotFound:
        return False  # its program was lost before it was submitted
    return int(run.state) == RunState.COMPLETED and int(run.reason) != StateReason.CACHED


def _run(run_id: bytes) -> Any:
    run = _scope().session.client().get_run(run_id)
    assert run.state >= FIRST_FINAL, "the hook waits for its end"
    return run


def _scope() -> Scope:
    return current_scope() or outside_scope()


def _forget(facts: dict[str, Any], future: Any) -> None:
    """Have nobody find the result of the run any more: it says that something was done."""
    try:
        forget_result(facts["task"], future, facts["cache_key"], _scope().session)
    except TaskyardError:  # of the network, and of storage of the user's
        get_run_logger().exception(
            "the cached result of the run could not be removed, later runs may find it"
        )
