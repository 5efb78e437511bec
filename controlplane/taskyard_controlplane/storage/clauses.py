"""What a `Rule` is in SQL, as far as both databases say it the same way."""

from typing import Final

from taskyard_contract.states import FIRST_FINAL, RunState
from taskyard_controlplane.storage.interface.rows import BlobState
from taskyard_controlplane.storage.interface.tables import Rule, Write

STILL_OPEN: Final = f"run.state < {FIRST_FINAL}"
"""A run that has ended stays as it is, whoever reports what later."""

HAS_ENDED: Final = f"run.state >= {FIRST_FINAL}"
"""Only a run that has ended is opened again."""

_ENDED_BADLY: Final = f"state >= {FIRST_FINAL} AND state <> {int(RunState.COMPLETED)}"


def names(write: Write) -> str:
    """Return the columns of a row as a list."""
    return ", ".join(write.columns)


def on_conflict(write: Write) -> str:
    """Return the clause that says what an insertion does with a row whose key exists; may be empty."""
    if write.rule is Rule.KEEP_FIRST:
        return f" ON CONFLICT ({write.key}) DO NOTHING"
    if write.rule is Rule.ADD:
        return " ON CONFLICT DO NOTHING"
    if write.rule is Rule.KEEP:
        leaving = f"{write.table}.state = {int(BlobState.DOOMED)}"
        return (
            f" ON CONFLICT ({write.key}) DO UPDATE SET state = {int(BlobState.KEPT)}, expires_us = NULL"
            f" WHERE {leaving}"
        )
    if write.rule is Rule.KEEP_LAST:
        others = [name for name in write.columns if name != write.key]
        assignments = ", ".join(f"{name} = excluded.{name}" for name in others)
        return f" ON CONFLICT ({write.key}) DO UPDATE SET {assignments}"
    return ""


def by_keys(write: Write, keys: str) -> str:
    """Return what is done under keys that a statement names: `Rule.REMOVE` or `Rule.COPY_BAD_END`.

    Args:
        write: Where to do it.
        keys: The condition that names them, in the terms of the database.
    """
    if write.rule is Rule.REMOVE:
        return f"DELETE FROM {write.table} WHERE {keys}"
    columns = ", ".join((*write.columns, *write.copied))
    return (
        f"INSERT INTO {write.table} ({columns}) SELECT {columns} FROM run WHERE {keys} AND {_ENDED_BADLY}"
        " ON CONFLICT DO NOTHING"
    )


def removal(write: Write, parameter: str) -> str:
    """Return the deletion of what agrees with one row: in all columns, or in all but the last.

    Args:
        write: What to delete from.
        parameter: How the driver writes a parameter.
    """
    *same, last = write.columns
    below = "<=" if write.rule is Rule.REMOVE_UP_TO else "="
    conditions = [f"{name} = {parameter}" for name in same] + [f"{last} {below} {parameter}"]
    return f"DELETE FROM {write.table} WHERE {' AND '.join(conditions)}"
