"""Writes a batch on SQLite, inside the transaction its caller has begun.

Invariant: the statements run in the order of dependence: templates before runs, insertions before endings,
endings before cache entries.
"""

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import Connection

from taskyard_contract.states import FIRST_FINAL
from taskyard_controlplane.storage.blobs import store_blob
from taskyard_controlplane.storage.engine import raw
from taskyard_controlplane.storage.interface import (
    CacheRow,
    DispatchRow,
    EndedRow,
    EventRow,
    LogRow,
    NewRunRow,
    WriteBatch,
)
from taskyard_controlplane.storage.sqlite.statements import RowsStatement, insert
from taskyard_controlplane.storage.templates import COLUMNS, with_names

_TEMPLATES: Final = insert("template", COLUMNS, "ON CONFLICT (template_id) DO NOTHING")
_ONCE: Final = "ON CONFLICT (run_id) DO NOTHING"
_RUNS: Final = insert("run", NewRunRow._fields, _ONCE)
# Most batches have none of these, and not binding their NULLs saves a third of the insertion.
_RARE: Final = ("parent_id", "name", "args_blob", "cache_key", "upstream")
_USUAL: Final = tuple(name for name in NewRunRow._fields if name not in _RARE)
_USUAL_RUNS: Final = insert("run", _USUAL, _ONCE)
_rare_values: Final = itemgetter(*map(NewRunRow._fields.index, _RARE))
_usual_values: Final = itemgetter(*map(NewRunRow._fields.index, _USUAL))
_NONE_SET: Final = (None,) * len(_RARE)
# SQLite names the columns of VALUES itself: column1, column2 and so on.
_ENDED: Final = RowsStatement(
    "UPDATE run SET "
    + ", ".join(f"{name} = v.column{place}" for place, name in enumerate(EndedRow._fields[:-1], 1))
    + f" FROM (VALUES {{rows}}) AS v WHERE run.seq = v.column{len(EndedRow._fields)}"
    + f" AND run.state < {FIRST_FINAL}",
    len(EndedRow._fields),
    "UPDATE run SET "
    + ", ".join(f"{name} = ?" for name in EndedRow._fields[:-1])
    + f" WHERE seq = ? AND state < {FIRST_FINAL}",
)
_EVENTS: Final = insert("run_event", EventRow._fields)
_DISPATCHES: Final = insert("dispatch", DispatchRow._fields)
_BACKLOG_ADDED: Final = insert("backlog", ("queue", "priority", "seq"), "ON CONFLICT (seq) DO NOTHING")
_BACKLOG_REMOVED: Final = "DELETE FROM backlog WHERE queue = ? AND priority = ? AND seq <= ?"
_CACHE: Final = insert(
    "cache_entry",
    CacheRow._fields,
    "ON CONFLICT (cache_key) DO UPDATE SET run_seq = excluded.run_seq, expires_us = excluded.expires_us",
)
_LOGS: Final = insert("run_log", LogRow._fields)

_DISPATCHED: Final = "DELETE FROM dispatch WHERE number < ?"


def write_batch(connection: Connection, batch: WriteBatch) -> int:
    """Write everything in a batch and return how many of its new runs were new."""
    driver = raw(connection)
    if batch.templates:
        _TEMPLATES.run(driver, with_names(batch.templates))
    for digest, data in batch.blobs:
        store_blob(connection, digest, data)
    inserted = _insert_runs(driver, batch.new_runs)
    _ENDED.run(driver, batch.ended)
    _EVENTS.run(driver, batch.events)
    _LOGS.run(driver, batch.logs)
    _DISPATCHES.run(driver, batch.dispatches)
    if batch.dispatched_below is not None:
        driver.execute(_DISPATCHED, (batch.dispatched_below,))
    _BACKLOG_ADDED.run(driver, batch.backlog_added)
    for range_end in batch.backlog_removed:
        driver.execute(_BACKLOG_REMOVED, range_end)
    _CACHE.run(driver, batch.cache)
    return inserted


def _insert_runs(driver: Any, rows: Sequence[Sequence[Any]]) -> int:
    if all(map(_NONE_SET.__eq__, map(_rare_values, rows))):
        return _USUAL_RUNS.run(driver, list(map(_usual_values, rows)))
    return _RUNS.run(driver, rows)
