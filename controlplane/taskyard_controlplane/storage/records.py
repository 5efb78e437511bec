"""Reads that the owner and the readers share, as functions over a connection; `Store` says what each returns.

Everything here is off the path of an ordinary run, so it is plain SQLAlchemy, the same for both databases.
Invariant: nothing here writes.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

from sqlalchemy import Column, Connection, Select, and_, case, exists, func, null, or_, select

from taskyard_contract.states import FIRST_FINAL, RunState
from taskyard_controlplane.domain.memory import ALWAYS_KEPT
from taskyard_controlplane.storage.interface import (
    BacklogPage,
    CachedResult,
    DispatchRow,
    EventRow,
    LogMarkRow,
    ParkedRow,
    RunEnd,
    RunHead,
    StoredPayloads,
    StoredRun,
    TemplateRow,
)
from taskyard_controlplane.storage.lookups import Lookup
from taskyard_controlplane.storage.schema import (
    agent,
    backlog,
    cache_entry,
    dispatch,
    log_mark,
    run,
    run_event,
    template,
)

_KEPT: Final = ("args", "result", "outcome")


def _small(column: Column[Any]) -> Any:
    """Return a column that is NULL where its value is too large to be kept."""
    return case((func.length(column) <= ALWAYS_KEPT, column))


def _columns(fields: Sequence[str], kept: Sequence[str]) -> list[Any]:
    """Return the columns of a row whose last fields are `kept`: these where they are small, and behind them
    their sizes, which a database reads without the values.
    """
    return [
        *(run.c[name] for name in fields[: -len(kept)]),
        *(_small(run.c[name]).label(name) for name in kept),
        *(func.length(run.c[name]).label(f"{name}_size") for name in kept),
    ]


HEAD_COLUMNS: Final = _columns(RunHead._fields, _KEPT)
_SIZE_OF_ARGS: Final = len(HEAD_COLUMNS) - len(_KEPT)
_OPEN_COLUMNS: Final = [
    *(null().label(each.name) if each.name in _KEPT[1:] else each for each in HEAD_COLUMNS[:_SIZE_OF_ARGS]),
    HEAD_COLUMNS[_SIZE_OF_ARGS],
]
"""The same of runs that have not ended: these have neither a result nor an outcome."""
RUN_COLUMNS: Final = [run.c[name] for name in StoredRun._fields]
_EVENT_COLUMNS: Final = [run_event.c[name] for name in EventRow._fields]
_OPEN: Final = run.c.state < FIRST_FINAL

_RUNS: Final = Lookup(select(*RUN_COLUMNS), run.c.run_id)
_HEADS: Final = Lookup(select(*HEAD_COLUMNS), run.c.run_id)
_HEADS_BY_SEQ: Final = Lookup(select(*HEAD_COLUMNS), run.c.seq)
_ENDS: Final = Lookup(select(*_columns(RunEnd._fields, _KEPT[1:])), run.c.run_id)
_STATES: Final = Lookup(select(run.c.run_id, run.c.state), run.c.run_id)
_SEQS: Final = Lookup(select(run.c.run_id, run.c.seq), run.c.run_id)
_ARGS: Final = Lookup(select(run.c.seq, run.c.args), run.c.seq)
_OUTCOMES: Final = Lookup(select(run.c.run_id, run.c.result, run.c.outcome), run.c.run_id)
_EVENTS: Final = Lookup(select(run_event.c.event_id, *_EVENT_COLUMNS), run_event.c.run_seq)
_GONE: Final = run.c.seq.is_(None)
"""Of a cache entry whose run was removed: it has copies of its own, which say nothing before."""
_CACHED: Final = Lookup(
    select(
        cache_entry.c.expires_us,
        cache_entry.c.cache_key,
        cache_entry.c.run_seq,
        *(
            case((_GONE, cache_entry.c[name]), else_=run.c[name]).label(name)
            for name in ("run_id", "template_id", "result", "outcome")
        ),
        template.c.definition,
    )
    .outerjoin(run, run.c.seq == cache_entry.c.run_seq)
    .outerjoin(
        template,
        template.c.template_id == case((_GONE, cache_entry.c.template_id), else_=run.c.template_id),
    )
    .where(or_(run.c.state == int(RunState.COMPLETED), and_(_GONE, cache_entry.c.run_id.is_not(None)))),
    cache_entry.c.cache_key,
)
_TEMPLATE_COLUMNS: Final = [template.c[name] for name in TemplateRow._fields]
_TEMPLATES: Final = Lookup(select(*_TEMPLATE_COLUMNS), template.c.template_id)
_BY_DIGEST: Final = Lookup(select(*_TEMPLATE_COLUMNS), template.c.digest)


def _open_heads(connection: Connection, query: Select[Any]) -> list[RunHead]:
    """Run a query over `_OPEN_COLUMNS`."""
    # The driver's own rows, and no call for each: SQLAlchemy's cost as much as all else, and recovery reads a
    # million of them.
    make, args = tuple.__new__, RunHead._fields.index("args")
    return [
        make(RunHead, row[:-1])
        if row[-1] is None or row[args] is not None
        else make(RunHead, (*row[:args], row[-1], None, None))
        for row in connection.execute(query).cursor.fetchall()
    ]


def _heads(rows: Iterable[Sequence[Any]]) -> list[RunHead]:
    width, make = len(RunHead._fields) - len(_KEPT), RunHead._make
    return [
        make(
            (
                *row[:width],
                row[-3] if row[width] is None else row[width],
                row[-2] if row[width + 1] is None else row[width + 1],
                row[-1] if row[width + 2] is None else row[width + 2],
            )
        )
        for row in rows
    ]


def heads_by_id(connection: Connection, run_ids: Sequence[bytes]) -> list[RunHead]:
    return _heads(_HEADS.rows(connection, run_ids))


def heads_by_seq(connection: Connection, seqs: Sequence[int]) -> list[RunHead]:
    return _heads(_HEADS_BY_SEQ.rows(connection, seqs))


def ends_by_id(connection: Connection, run_ids: Sequence[bytes]) -> list[RunEnd]:
    return [
        RunEnd(
            run_id,
            state,
            result_size if result is None else result,
            outcome_size if outcome is None else outcome,
        )
        for run_id, state, result, outcome, result_size, outcome_size in _ENDS.rows(connection, run_ids)
    ]


def states_by_id(connection: Connection, run_ids: Sequence[bytes]) -> dict[bytes, int]:
    return dict(_STATES.rows(connection, run_ids))


def payloads(connection: Connection, seqs: Sequence[int], run_ids: Sequence[bytes]) -> StoredPayloads:
    args = _ARGS.rows(connection, seqs)
    outcomes = _OUTCOMES.rows(connection, run_ids)
    return StoredPayloads(
        {seq: each or b"" for seq, each in args},
        {run_id: (result, outcome) for run_id, result, outcome in outcomes},
    )


def runs_by_id(connection: Connection, run_ids: Sequence[bytes]) -> list[StoredRun]:
    return list(map(StoredRun._make, _RUNS.rows(connection, run_ids)))


def ids_taken(connection: Connection, new_runs: Sequence[Sequence[Any]]) -> list[bytes]:
    """Return the ids of those `NewRunRow`s whose id belongs to a run with another seq, each once."""
    stored: dict[bytes, int] = dict(_SEQS.rows(connection, [row[1] for row in new_runs]))
    return list(dict.fromkeys(row[1] for row in new_runs if stored.get(row[1], row[0]) != row[0]))


def seqs_of(connection: Connection, run_ids: Sequence[bytes]) -> list[int]:
    """Return the numbers of those of some runs that there are, in no order."""
    return [seq for _, seq in _SEQS.rows(connection, run_ids)]


def cached_results(connection: Connection, keys: Sequence[str], now_us: int) -> list[CachedResult]:
    """Return what is usable at `now_us` under some cache keys."""
    storable = [key for key in keys if "\x00" not in key]  # PostgreSQL cannot store NUL
    return [
        CachedResult._make(found)
        for expires_us, *found in _CACHED.rows(connection, storable)
        if expires_us is None or expires_us > now_us
    ]


def templates(connection: Connection, ids: Sequence[int], digests: Sequence[bytes]) -> list[TemplateRow]:
    rows = {*_TEMPLATES.rows(connection, ids), *_BY_DIGEST.rows(connection, digests)}
    return sorted(map(TemplateRow._make, rows))


def template_digests_page(connection: Connection, after: bytes, limit: int) -> list[bytes]:
    """Return the next digests beyond one, in order: an index has them all."""
    query = select(template.c.digest).where(template.c.digest > after).order_by(template.c.digest)
    return list(connection.execute(query.limit(limit)).scalars())


def open_runs_page(connection: Connection, from_seq: int, limit: int) -> list[RunHead]:
    """Return the next open runs outside the backlog, by seq."""
    waiting = exists().where(backlog.c.seq == run.c.seq)
    query = select(*_OPEN_COLUMNS).where(run.c.seq >= from_seq, _OPEN, ~waiting)
    return _open_heads(connection, query.order_by(run.c.seq).limit(limit))


def events_of(connection: Connection, seqs: Sequence[int]) -> list[EventRow]:
    rows = sorted(_EVENTS.rows(connection, seqs))
    return [EventRow._make(row[1:]) for row in rows]


def open_events(connection: Connection, first_seq: int, last_seq: int) -> list[EventRow]:
    query = (
        select(*_EVENT_COLUMNS)
        .join(run, run.c.seq == run_event.c.run_seq)
        .where(run_event.c.run_seq.between(first_seq, last_seq), _OPEN)
        .order_by(run_event.c.event_id)
    )
    return list(map(EventRow._make, connection.execute(query).cursor.fetchall()))


def dispatches(connection: Connection) -> list[DispatchRow]:
    query = select(*(dispatch.c[name] for name in DispatchRow._fields)).order_by(dispatch.c.number)
    return [DispatchRow._make(row) for row in connection.execute(query)]


def agent_numbers(connection: Connection, agent_ids: Collection[str]) -> dict[str, int]:
    newest = func.max(agent.c.number)
    query = select(agent.c.agent_id, newest).where(agent.c.agent_id.in_(agent_ids)).group_by(agent.c.agent_id)
    return {row[0]: row[1] for row in connection.execute(query)}


def log_marks(connection: Connection) -> list[LogMarkRow]:
    query = select(*(log_mark.c[name] for name in LogMarkRow._fields)).order_by(log_mark.c.at_us.desc())
    return [LogMarkRow._make(row) for row in connection.execute(query)]


def backlog_counts(connection: Connection) -> list[tuple[str, int, int]]:
    group = (backlog.c.queue, backlog.c.priority)
    query = select(*group, func.count()).group_by(*group).order_by(*group)
    return [(lane, priority, count) for lane, priority, count in connection.execute(query)]


def backlog_page(connection: Connection, lane: str, priority: int, after_seq: int, limit: int) -> BacklogPage:
    query = (
        select(*_OPEN_COLUMNS)
        .join(backlog, backlog.c.seq == run.c.seq)
        .where(backlog.c.queue == lane, backlog.c.priority == priority, backlog.c.seq > after_seq)
    )
    # Some may have ended since they were queued: whoever reads on has to know that they were looked at.
    rows = _open_heads(connection, query.order_by(backlog.c.seq).limit(limit))
    last_seq = rows[-1].seq if rows else after_seq
    return BacklogPage([row for row in rows if row.state < FIRST_FINAL], len(rows), last_seq)


def parked_page(connection: Connection, lane: str, after_seq: int, limit: int) -> list[ParkedRow]:
    """Return what is needed to park the next runs of a lane of the backlog beyond `after_seq`, in order."""
    query = (
        select(backlog.c.seq, run.c.template_id, run.c.upstream, run.c.session_id)
        .join(run, backlog.c.seq == run.c.seq)
        .where(backlog.c.queue == lane, backlog.c.priority == 0, backlog.c.seq > after_seq)
    )
    return list(connection.execute(query.order_by(backlog.c.seq).limit(limit)).cursor.fetchall())


def backlog_of_session(connection: Connection, session_id: bytes, after_seq: int, limit: int) -> BacklogPage:
    # No index finds the runs of a session, so it is the backlog that is gone through, a part at a time.
    query = select(backlog.c.seq).where(backlog.c.seq > after_seq).order_by(backlog.c.seq)
    seqs = list(connection.execute(query.limit(limit)).scalars())
    if not seqs:
        return BacklogPage([], 0, after_seq)
    between = backlog.c.seq.between(seqs[0], seqs[-1])
    rows = _open_heads(connection, _backlog().where(between, run.c.session_id == session_id))
    return BacklogPage(rows, len(seqs), seqs[-1])


def backlog_of_flow(connection: Connection, flow_seq: int, after_seq: int, limit: int) -> BacklogPage:
    query = _backlog().where(run.c.flow_seq == flow_seq, run.c.seq > after_seq)
    rows = _open_heads(connection, query.limit(limit))
    return BacklogPage(rows, len(rows), rows[-1].seq if rows else after_seq)


def _backlog() -> Select[Any]:
    query = select(*_OPEN_COLUMNS).join(backlog, backlog.c.seq == run.c.seq)
    return query.where(_OPEN).order_by(run.c.seq)
