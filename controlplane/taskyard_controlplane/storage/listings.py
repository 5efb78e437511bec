"""What is said of runs in listings: those that fit a filter, in the order of their numbers, and how many.

What is inside a flow run is also summed up. The database counts, so that half a million runs cost no more
memory here than ten; and it counts how long they took by the first two digits: a median can be told from
that, and the counts of pages can be added up.

A search (`searching`) knows of a run only its number; what is shown of it is read at the end, by that.
"""

from collections import Counter
from collections.abc import Sequence
from operator import attrgetter
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Integer, Text, and_, case, cast, func, literal, null, select

from taskyard_contract.states import FIRST_FINAL, RunState
from taskyard_controlplane.storage import records
from taskyard_controlplane.storage.interface import (
    CalledRun,
    EndedCounts,
    ListedRun,
    OpenRun,
    OpenRuns,
    RunFilter,
    RunPage,
    RunSums,
    StoredRun,
    SummedRuns,
)
from taskyard_controlplane.storage.lookups import Lookup
from taskyard_controlplane.storage.schema import agent, run, template
from taskyard_controlplane.storage.searching import (
    ORDINAL,
    Conditions,
    Search,
    keys_at_once,
    look,
    next_keys,
    price_of,
    search_for,
    window,
)

_flow = run.alias("flow")
_BESIDE: Final = (
    template.c.definition,
    _flow.c.run_id.label("flow_run_id"),
    agent.c.agent_id,
    agent.c.name.label("agent_name"),
)
LISTED: Final = (
    select(*records.RUN_COLUMNS, *_BESIDE)
    .join(template, template.c.template_id == run.c.template_id)
    .outerjoin(_flow, _flow.c.seq == run.c.flow_seq)
    .outerjoin(agent, agent.c.number == run.c.agent_number)
)
"""Runs with all that is said of them; `listed` reads the rows."""
_RUN_WIDTH: Final = len(records.RUN_COLUMNS)
_PAYLOADS: Final = ("args", "result")  # not for listings, unless they are asked for
_BRIEF: Final = LISTED.with_only_columns(
    *(null().label(column.name) if column.name in _PAYLOADS else column for column in records.RUN_COLUMNS),
    *_BESIDE,
    maintain_column_froms=True,
)
_BY_NUMBER: Final = {False: Lookup(_BRIEF, run.c.seq), True: Lookup(LISTED, run.c.seq)}
_OPEN_BY_NUMBER: Final = Lookup(select(run.c.seq, run.c.run_id, run.c.state), run.c.seq)
_seq_of: Final = attrgetter("run.seq")
NAME: Final = func.coalesce(run.c.name, template.c.name + "-" + ORDINAL)
"""What a run is called when nobody named it."""
_caller = run.alias("caller")
_caller_task = template.alias("caller_task")
DIGITS: Final = 2
"""Of a duration, that are told apart."""
_ENDED: Final = run.c.state >= FIRST_FINAL
_OPEN_STATES: Final = tuple(int(state) for state in RunState if state < FIRST_FINAL)

Templates = list[int] | None
"""The numbers of those that runs have which fit; None for any. Without one, nothing is looked for."""


def listed(row: Sequence[Any]) -> ListedRun:
    """Return the run in a row of `LISTED`."""
    return ListedRun(StoredRun._make(row[:_RUN_WIDTH]), *row[_RUN_WIDTH : _RUN_WIDTH + len(_BESIDE)])


def find_runs(
    connection: Connection,
    wanted: RunFilter,
    templates: Templates,
    beyond: int | None,
    limit: int,
    most: int,
    *,
    oldest_first: bool,
    whole: bool,
) -> RunPage:
    """Return runs that fit a filter; `Reader.runs` says the rest."""
    if templates == []:
        return RunPage([], None, 0, 0)
    search = search_for(connection, wanted, templates, oldest_first=oldest_first)
    if not search.bounded:
        return _all(connection, beyond, limit, oldest_first=oldest_first, whole=whole)
    hits = look(connection, search, beyond, limit, most)
    runs = [listed(row) for row in _BY_NUMBER[whole].rows(connection, hits.seqs)]
    runs.sort(key=_seq_of, reverse=not oldest_first)
    if hits.position is None or len(runs) == limit:
        return _found(runs, hits.position, hits.looked_at)
    reached_us = _submitted_us(connection, hits.position, oldest_first=oldest_first)
    return RunPage(runs, hits.position, hits.looked_at, reached_us)


def listed_by_number(connection: Connection, seqs: Sequence[int]) -> dict[int, ListedRun]:
    """Return what listings say of those of some runs that exist, by number; without arguments and results."""
    return {run.run.seq: run for run in map(listed, _BY_NUMBER[False].rows(connection, seqs))}


def _all(
    connection: Connection, beyond: int | None, limit: int, *, oldest_first: bool, whole: bool
) -> RunPage:
    query = LISTED if whole else _BRIEF
    if beyond is not None:
        query = query.where(run.c.seq > beyond if oldest_first else run.c.seq < beyond)
    query = query.order_by(run.c.seq if oldest_first else run.c.seq.desc())
    runs = [listed(row) for row in connection.execute(query.limit(limit)).all()]
    return _found(runs, runs[-1].run.seq if len(runs) == limit else None, len(runs))


def _found(runs: list[ListedRun], position: int | None, looked_at: int) -> RunPage:
    """Return runs of which the last is the last that was looked at, unless all were."""
    return RunPage(runs, position, looked_at, 0 if position is None else runs[-1].run.submitted_us)


def _submitted_us(connection: Connection, seq: int, *, oldest_first: bool) -> int:
    """Return when the last run that was looked at was submitted, when nothing beyond a number was."""
    query = select(run.c.submitted_us).limit(1)
    if oldest_first:
        query = query.where(run.c.seq <= seq).order_by(run.c.seq.desc())
    else:
        query = query.where(run.c.seq >= seq).order_by(run.c.seq)
    return connection.execute(query).scalar() or 0


def count_ended(connection: Connection, wanted: RunFilter, templates: Templates, most: int) -> EndedCounts:
    """Count the ended runs that fit a filter, newest first; `Reader.ended_counts` says the rest."""
    if templates == []:
        return EndedCounts({}, 0)
    search = search_for(connection, wanted, templates, oldest_first=False)
    counts: Counter[int] = Counter()
    position: int | None
    if search.places or search.named is not None:
        position = _count_by_keys(connection, search, most, counts)
    else:
        bottom, top, position = window(connection, search, None, most)
        _count(connection, [run.c.seq < top, run.c.seq >= bottom, *search.conditions], counts)
    reached_us = 0 if position is None else _submitted_us(connection, position, oldest_first=False)
    return EndedCounts(dict(counts), reached_us)


def _count_by_keys(connection: Connection, search: Search, left: int, counts: Counter[int]) -> int | None:
    position: int | None = None
    while left > 0:
        count = keys_at_once(left)
        keys = next_keys(connection, search, position, count)
        _count(connection, [run.c.seq.in_(keys), *search.conditions], counts)
        if len(keys) < count:
            return None
        position, left = keys[-1], left - price_of(keys)
    return position


def _count(connection: Connection, conditions: Conditions, counts: Counter[int]) -> None:
    query = select(run.c.state, func.count()).where(_ENDED, *conditions).group_by(run.c.state)
    counts.update({row[0]: row[1] for row in connection.execute(query)})


def open_runs(
    connection: Connection,
    wanted: RunFilter,
    templates: Templates,
    beyond: int | None,
    limit: int,
    most: int,
) -> OpenRuns:
    """Return open runs that fit a filter, newest first; `Reader.open_runs` says the rest."""
    if templates == []:
        return OpenRuns([], None, 0, 0)
    wanted = wanted._replace(states=_OPEN_STATES)
    search = search_for(connection, wanted, templates, oldest_first=False)
    hits = look(connection, search, beyond, limit, most)
    rows = sorted(_OPEN_BY_NUMBER.rows(connection, hits.seqs), reverse=True)
    runs = [OpenRun(run_id, state) for _, run_id, state in rows]
    reached_us = 0 if hits.position is None else _submitted_us(connection, hits.position, oldest_first=False)
    return OpenRuns(runs, hits.position, hits.looked_at, reached_us)


def sum_up(connection: Connection, flow_seq: int, beyond: int | None, most: int, *, details: bool) -> RunSums:
    """Sum up runs inside a flow run, oldest first; `Reader.sums` says the rest."""
    last = _last_of_page(connection, flow_seq, beyond or 0, most)
    if last is None:
        return RunSums([], None, beyond or 0)
    page = [run.c.flow_seq == flow_seq, run.c.seq > (beyond or 0), run.c.seq <= last[0]]
    keys: list[ColumnElement[Any]] = [run.c.kind, template.c.name, run.c.state]
    keys += [_caller_task.c.name, *_digits()] if details else [_nothing(), _nothing(), _nothing()]
    query = (
        select(
            *keys,
            func.count(),
            func.min(run.c.submitted_us),
            func.min(run.c.started_us) if details else _nothing(),
            func.max(run.c.ended_us) if details else _nothing(),
        )
        .join(template, template.c.template_id == run.c.template_id)
        .where(*page)
        .group_by(*keys[: 6 if details else 3])
    )
    if details:
        query = query.outerjoin(_caller, _caller.c.run_id == run.c.caller_id)
        query = query.outerjoin(_caller_task, _caller_task.c.template_id == _caller.c.template_id)
    found = [SummedRuns._make(row) for row in connection.execute(query)]
    return RunSums(found, last[0] if last[1] == most else None, last[0])


def calls(connection: Connection, flow_seq: int, beyond: int, limit: int) -> list[CalledRun]:
    """Return what the body of a flow run has called itself; `Reader.calls` says the rest."""
    query = (
        select(*(run.c[name] for name in CalledRun._fields[:-1]), template.c.definition)
        .join(template, template.c.template_id == run.c.template_id)
        .where(run.c.flow_seq == flow_seq, run.c.seq > beyond, run.c.caller_id.is_(None))
        .order_by(run.c.flow_seq, run.c.seq)
    )
    return [CalledRun._make(row) for row in connection.execute(query.limit(limit))]


def _last_of_page(connection: Connection, flow_seq: int, beyond: int, most: int) -> tuple[int, int] | None:
    """Return the number of the last run that is looked at, and how many these are: the index knows both."""
    inside = select(run.c.seq).where(run.c.flow_seq == flow_seq, run.c.seq > beyond)
    page = inside.order_by(run.c.flow_seq, run.c.seq).limit(most).subquery()
    last, count = connection.execute(select(func.max(page.c.seq), func.count()).select_from(page)).one()
    return None if last is None else (last, count)


def _nothing() -> ColumnElement[Any]:
    return null()


def _digits() -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """Return the first digits of how long a run took, as a text, and how many there are in all."""
    took = run.c.ended_us - run.c.started_us
    text = cast(case((took > 0, took), else_=0), Text)
    known = and_(run.c.started_us.is_not(None), run.c.ended_us.is_not(None))
    first = case((known, func.substr(text, literal(1, Integer), literal(DIGITS, Integer))))
    return first, case((known, func.length(text)))
