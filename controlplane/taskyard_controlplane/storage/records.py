"""Reads that the owner and the readers share, as functions over a connection; `Store` says what each returns.

Everything here is off the path of an ordinary run, so it is plain SQLAlchemy, the same for both databases.
Invariant: nothing here writes.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final, TypeVar

from sqlalchemy import Column, Connection, Select, case, exists, func, or_, select

from taskyard_contract.states import FIRST_FINAL, RunState
from taskyard_controlplane.domain.memory import ALWAYS_KEPT
from taskyard_controlplane.storage.interface import (
    CachedResult,
    DispatchRow,
    EventRow,
    LogMarkRow,
    RunHead,
    StoredPayloads,
    StoredRun,
    TemplateRow,
)
from taskyard_controlplane.storage.schema import (
    backlog,
    cache_entry,
    dispatch,
    log_mark,
    run,
    run_event,
    template,
)

T = TypeVar("T")

_KEPT: Final = ("args", "result", "outcome")


def _small(column: Column[Any]) -> Any:
    """Return a column that is NULL where its value is too large to be kept."""
    return case((func.length(column) <= ALWAYS_KEPT, column))


# A head, and behind it the sizes of what it may lack: a database reads these without the values.
HEAD_COLUMNS: Final = [
    *(run.c[name] for name in RunHead._fields[: -len(_KEPT)]),
    *(_small(run.c[name]).label(name) for name in _KEPT),
    *(func.length(run.c[name]).label(f"{name}_size") for name in _KEPT),
]
RUN_COLUMNS: Final = [run.c[name] for name in StoredRun._fields]
_EVENT_COLUMNS: Final = [run_event.c[name] for name in EventRow._fields]
_OPEN: Final = run.c.state < FIRST_FINAL
_IDS_PER_QUERY: Final = 500  # a list in a statement; both databases take far more, their planners do not


def runs_of(connection: Connection, query: Select[Any]) -> list[StoredRun]:
    """Run a query over `RUN_COLUMNS`."""
    return [StoredRun._make(row) for row in connection.execute(query)]


def heads_of(connection: Connection, query: Select[Any]) -> list[RunHead]:
    """Run a query over `HEAD_COLUMNS`."""
    heads = []
    # The driver's own rows: SQLAlchemy's cost as much as all else, and recovery reads a million of them.
    for row in connection.execute(query).cursor.fetchall():
        *head, args, result, outcome, args_size, result_size, outcome_size = row
        head += (
            args_size if args is None else args,
            result_size if result is None else result,
            outcome_size if outcome is None else outcome,
        )
        heads.append(RunHead._make(head))
    return heads


def heads_by_id(connection: Connection, run_ids: Sequence[bytes]) -> list[RunHead]:
    found: list[RunHead] = []
    for ids in in_parts(run_ids):
        found += heads_of(connection, select(*HEAD_COLUMNS).where(run.c.run_id.in_(ids)))
    return found


def payloads(connection: Connection, seqs: Sequence[int], run_ids: Sequence[bytes]) -> StoredPayloads:
    found = StoredPayloads({}, {})
    for part in in_parts(seqs):
        query = select(run.c.seq, run.c.args).where(run.c.seq.in_(part))
        found.args.update((seq, args or b"") for seq, args in connection.execute(query))
    outcomes = select(run.c.run_id, run.c.result, run.c.outcome)
    for ids in in_parts(run_ids):
        rows = connection.execute(outcomes.where(run.c.run_id.in_(ids)))
        found.outcomes.update((run_id, (result, outcome)) for run_id, result, outcome in rows)
    return found


def runs_by_id(connection: Connection, run_ids: Sequence[bytes]) -> list[StoredRun]:
    found: list[StoredRun] = []
    for ids in in_parts(run_ids):
        found += runs_of(connection, select(*RUN_COLUMNS).where(run.c.run_id.in_(ids)))
    return found


def ids_taken(connection: Connection, new_runs: Sequence[Sequence[Any]]) -> list[bytes]:
    """Return the ids of those `NewRunRow`s whose id belongs to a run with another seq, each once."""
    stored: dict[bytes, int] = {}
    for rows in in_parts(new_runs):
        query = select(run.c.run_id, run.c.seq).where(run.c.run_id.in_([row[1] for row in rows]))
        stored.update((run_id, seq) for run_id, seq in connection.execute(query))
    return list(dict.fromkeys(row[1] for row in new_runs if stored.get(row[1], row[0]) != row[0]))


def cached_results(connection: Connection, keys: Sequence[str], now_us: int) -> list[CachedResult]:
    """Return what is usable at `now_us` under some cache keys."""
    query = (
        select(cache_entry.c.cache_key, run.c.seq, run.c.template_id, run.c.result, run.c.outcome)
        .join(run, run.c.seq == cache_entry.c.run_seq)
        .where(run.c.state == int(RunState.COMPLETED))
        .where(or_(cache_entry.c.expires_us.is_(None), cache_entry.c.expires_us > now_us))
    )
    found: list[CachedResult] = []
    for part in in_parts([key for key in keys if "\x00" not in key]):  # PostgreSQL cannot store NUL
        rows = connection.execute(query.where(cache_entry.c.cache_key.in_(part)))
        found += [CachedResult._make(row) for row in rows]
    return found


def templates(connection: Connection) -> list[TemplateRow]:
    query = select(*(template.c[name] for name in TemplateRow._fields))
    return [TemplateRow._make(row) for row in connection.execute(query.order_by(template.c.template_id))]


def open_runs_page(connection: Connection, from_seq: int, limit: int) -> list[RunHead]:
    """Return the next open runs outside the backlog, by seq."""
    waiting = exists().where(backlog.c.seq == run.c.seq)
    query = select(*HEAD_COLUMNS).where(run.c.seq >= from_seq, _OPEN, ~waiting)
    return heads_of(connection, query.order_by(run.c.seq).limit(limit))


def events_of(connection: Connection, seqs: Sequence[int]) -> list[EventRow]:
    found: list[tuple[int, EventRow]] = []
    for part in in_parts(seqs):
        query = select(run_event.c.event_id, *_EVENT_COLUMNS).where(run_event.c.run_seq.in_(part))
        found += [(row[0], EventRow._make(row[1:])) for row in connection.execute(query)]
    found.sort(key=lambda pair: pair[0])
    return [event for _, event in found]


def open_events(connection: Connection, first_seq: int, last_seq: int) -> list[EventRow]:
    query = (
        select(*_EVENT_COLUMNS)
        .join(run, run.c.seq == run_event.c.run_seq)
        .where(run_event.c.run_seq.between(first_seq, last_seq), _OPEN)
        .order_by(run_event.c.event_id)
    )
    return [EventRow._make(row) for row in connection.execute(query)]


def dispatches(connection: Connection) -> list[DispatchRow]:
    query = select(*(dispatch.c[name] for name in DispatchRow._fields)).order_by(dispatch.c.number)
    return [DispatchRow._make(row) for row in connection.execute(query)]


def log_marks(connection: Connection) -> list[LogMarkRow]:
    query = select(*(log_mark.c[name] for name in LogMarkRow._fields)).order_by(log_mark.c.at_us.desc())
    return [LogMarkRow._make(row) for row in connection.execute(query)]


def backlog_counts(connection: Connection) -> list[tuple[str, int, int]]:
    group = (backlog.c.queue, backlog.c.priority)
    query = select(*group, func.count()).group_by(*group).order_by(*group)
    return [(lane, priority, count) for lane, priority, count in connection.execute(query)]


def backlog_page(
    connection: Connection, lane: str, priority: int, after_seq: int, limit: int
) -> list[RunHead]:
    """Return the next runs of a lane of the backlog beyond `after_seq`, in order."""
    query = (
        select(*HEAD_COLUMNS)
        .join(backlog, backlog.c.seq == run.c.seq)
        .where(backlog.c.queue == lane, backlog.c.priority == priority, backlog.c.seq > after_seq)
    )
    return heads_of(connection, query.order_by(backlog.c.seq).limit(limit))


def backlog_of_session(connection: Connection, session_id: bytes) -> list[RunHead]:
    return heads_of(connection, _backlog().where(run.c.session_id == session_id))


def backlog_of_flow(connection: Connection, flow_seq: int) -> list[RunHead]:
    return heads_of(connection, _backlog().where(run.c.flow_seq == flow_seq))


def in_parts(items: Sequence[T]) -> Iterator[list[T]]:
    """Cut a list into parts that fit into one query."""
    rest = iter(items)
    while part := list(islice(rest, _IDS_PER_QUERY)):
        yield part


def _backlog() -> Select[Any]:
    query = select(*HEAD_COLUMNS).join(backlog, backlog.c.seq == run.c.seq)
    return query.where(_OPEN).order_by(run.c.seq)
