"""How users open transactions, and find the one that their code is in."""

from typing import Any

from taskyard._data.runs.transactions import CommitMode, IsolationLevel
from taskyard._durable_names import public
from taskyard._engine.results.store import get_result_store
from taskyard._engine.transactions.base import BaseTransaction
from taskyard._engine.transactions.contexts import AsyncTransaction, Transaction
from taskyard._engine.transactions.own import own_transaction
from taskyard.context import TaskRunContext, current_context
from taskyard.logging import get_logger, get_run_logger


@public("taskyard.transactions")
def get_transaction() -> BaseTransaction | None:
    """Return the innermost open transaction; in the function of a task, that of its run; else None."""
    found = BaseTransaction.get_active()
    if found is not None:
        return found
    context = current_context()
    return own_transaction(context) if isinstance(context, TaskRunContext) else None


@public("taskyard.transactions")
def transaction(
    key: str | None = None,
    store: Any = None,
    commit_mode: CommitMode | str | None = None,
    isolation_level: IsolationLevel | str | None = None,
    overwrite: bool = False,
    write_on_commit: bool = True,
    logger: Any = None,
) -> Transaction:
    """Return a context manager: what is called inside of it is done, or undone, as a whole.

    Task runs that are submitted inside are parts of it. At the end of the block they are waited for. When
    code inside raises, or a run fails for good, hooks `on_rollback` of the runs that completed are called.

    Args:
        key: What the transaction does, by name. Where there is a record of it, it has committed before.
        store: Keeps that record, a `ResultStore`; by default that of the run around, else the default one.
        commit_mode: When it commits; by default as the one around, the outermost one LAZY.
        isolation_level: Whether others with the key wait; by default as the one around, else READ_COMMITTED.
        overwrite: Whether to begin although there is a record.
        write_on_commit: Whether to write a record.
        logger: Where hooks are said to be called; by default the run's.

    Raises:
        ValueError: There is no such mode or level.
    """
    options = _options(key, store, logger)
    return Transaction(
        key=key,
        commit_mode=commit_mode,
        isolation_level=isolation_level,
        overwrite=overwrite,
        write_on_commit=write_on_commit,
        **options,
    )


@public("taskyard.transactions")
def atransaction(
    key: str | None = None,
    store: Any = None,
    commit_mode: CommitMode | str | None = None,
    isolation_level: IsolationLevel | str | None = None,
    overwrite: bool = False,
    write_on_commit: bool = True,
    logger: Any = None,
) -> AsyncTransaction:
    """Return one for asynchronous code, with ``async with``; all the rest is as with `transaction`."""
    options = _options(key, store, logger)
    return AsyncTransaction(
        key=key,
        commit_mode=commit_mode,
        isolation_level=isolation_level,
        overwrite=overwrite,
        write_on_commit=write_on_commit,
        **options,
    )


def _options(key: str | None, store: Any, logger: Any) -> dict[str, Any]:
    if key and store is None:
        store = get_result_store()
    if logger is None:
        logger = get_run_logger() if current_context() is not None else get_logger("transactions")
    return {"store": store, "logger": logger}
