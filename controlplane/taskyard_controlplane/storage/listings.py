"""Finds the runs of a listing, newest first, and looks at no more of the table than it may.

What is asked for decides where to look. Runs of a flow run, flow runs, and runs that ended badly have an
index to go through, so a page of them reads what it shows. Everything else is looked at run by run, from the
newest back: no index says which runs are completed, because most of them are, or which have a text somewhere
in their name. However rare it is, the search ends after so many runs, and says how far it came.

A search knows of a run only its number; what is shown of it is read at the end, by that. So the statements
that could read much are too plain for a planner to read more than is meant.
"""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Select,
    Text,
    and_,
    cast,
    func,
    literal,
    null,
    or_,
    select,
    tuple_,
    union_all,
)

from taskyard_contract.states import FIRST_FINAL, RunKind, RunState
from taskyard_controlplane.storage import records
from taskyard_controlplane.storage.interface import ListedRun, RunFilter, RunPage, StoredRun
from taskyard_controlplane.storage.lookups import MOST_KEYS, Lookup
from taskyard_controlplane.storage.schema import ARE_FLOWS, ended_badly, run, shard_owner, template

_flow = run.alias("flow")
LISTED: Final = (
    select(*records.RUN_COLUMNS, template.c.definition, _flow.c.run_id.label("flow_run_id"))
    .join(template, template.c.template_id == run.c.template_id)
    .outerjoin(_flow, _flow.c.seq == run.c.flow_seq)
)
"""Runs with all that is said of them; `listed` reads the rows."""
_RUN_WIDTH: Final = len(records.RUN_COLUMNS)
_PAYLOADS: Final = ("args", "result")  # not for listings, which nobody reads them from
_BRIEF: Final = LISTED.with_only_columns(
    *(null().label(column.name) if column.name in _PAYLOADS else column for column in records.RUN_COLUMNS),
    template.c.definition,
    _flow.c.run_id.label("flow_run_id"),
    maintain_column_froms=True,
)
_BY_NUMBER: Final = Lookup(_BRIEF, run.c.seq)
_seq_of: Final = attrgetter("run.seq")
_ORDINAL: Final = cast(run.c.ordinal, Text)
NAME: Final = func.coalesce(run.c.name, template.c.name + "-" + _ORDINAL)
"""What a run is called when nobody named it."""

_BAD_ENDS: Final = frozenset(one for one in RunState if one >= FIRST_FINAL and one != RunState.COMPLETED)
_PRICE_OF_A_KEY: Final = 5
"""A run that is read by its number costs about as much as so many that lie in a row."""

_BEYOND: Final = (1 << 63) - 1
"""No run has a higher number."""

Conditions = list[ColumnElement[bool]]


class _Place(NamedTuple):
    """A part of an index that names runs in the order of their numbers."""

    seq: Column[int]
    conditions: Conditions
    flow_seq: int | None = None
    """Only the runs in this flow run."""


class _Search(NamedTuple):
    """Where to look for runs, and what to look for."""

    places: list[_Place]
    """Which together name all runs that can fit; none for all runs in a row."""
    conditions: Conditions
    """What that does not settle, and each run has to be looked at for."""
    oldest: int
    """No run with a lower number can fit."""


class _Hits(NamedTuple):
    """The numbers of runs that fit, newest first."""

    seqs: list[int]
    position: int | None
    """Nothing below was looked at; None when there is nothing below."""
    looked_at: int


def listed(row: Sequence[Any]) -> ListedRun:
    """Return the run in a row of `LISTED`."""
    return ListedRun(StoredRun._make(row[:_RUN_WIDTH]), row[_RUN_WIDTH], row[_RUN_WIDTH + 1])


def find_runs(
    connection: Connection, wanted: RunFilter, before: int | None, limit: int, most: int
) -> RunPage:
    """Return runs that fit a filter; `Reader.runs` says the rest."""
    search = _search(connection, wanted)
    if not search.places and not search.conditions:
        return _newest(connection, before, limit)
    look = _by_keys if search.places else _in_a_row
    hits = look(connection, search, before, limit, most)
    runs = [listed(row) for row in _BY_NUMBER.rows(connection, hits.seqs)]
    runs.sort(key=_seq_of, reverse=True)
    if hits.position is None or len(runs) == limit:
        return _found(runs, hits.position, hits.looked_at)
    return RunPage(runs, hits.position, hits.looked_at, _submitted_us(connection, hits.position))


def _newest(connection: Connection, before: int | None, limit: int) -> RunPage:
    query = _BRIEF if before is None else _BRIEF.where(run.c.seq < before)
    rows = connection.execute(query.order_by(run.c.seq.desc()).limit(limit)).all()
    runs = [listed(row) for row in rows]
    return _found(runs, runs[-1].run.seq if len(runs) == limit else None, len(runs))


def _found(runs: list[ListedRun], position: int | None, looked_at: int) -> RunPage:
    """Return runs of which the last is the last that was looked at, unless all were."""
    return RunPage(runs, position, looked_at, 0 if position is None else runs[-1].run.submitted_us)


def _search(connection: Connection, wanted: RunFilter) -> _Search:
    states = frozenset(wanted.states)
    if states and states <= _BAD_ENDS:
        places, conditions = _bad_ends(wanted)
    else:
        places, conditions = _runs(wanted)
    if wanted.name_contains:
        conditions.append(_named(wanted.name_contains.lower().replace("\x00", "")))  # PostgreSQL takes no NUL
    only_open = bool(states) and max(states) < FIRST_FINAL
    return _Search(places, conditions, _oldest_open(connection) if only_open else 1)


def _runs(wanted: RunFilter) -> tuple[list[_Place], Conditions]:
    conditions: Conditions = [run.c.state.in_(wanted.states)] if wanted.states else []
    if wanted.flow_seq is None and wanted.kind == RunKind.FLOW:
        return [_Place(run.c.seq, [ARE_FLOWS])], conditions
    if wanted.kind:
        conditions.append(run.c.kind == wanted.kind)
    return [] if wanted.flow_seq is None else [_Place(run.c.seq, [], wanted.flow_seq)], conditions


def _bad_ends(wanted: RunFilter) -> tuple[list[_Place], Conditions]:
    """Return a place for each state, and each kind: there an index is in the order of seq."""
    seq, states = ended_badly.c.seq, set(wanted.states)
    if wanted.flow_seq is not None:
        inside = ended_badly.c.flow_seq == wanted.flow_seq
        places = [_Place(seq, [inside, ended_badly.c.state == state]) for state in states]
        return places, [run.c.kind == wanted.kind] if wanted.kind else []
    kinds = [wanted.kind] if wanted.kind else list(RunKind)
    return [
        _Place(seq, [ended_badly.c.state == state, ended_badly.c.kind == kind])
        for state in states
        for kind in kinds
    ], []


def _named(part: str) -> ColumnElement[bool]:
    """Return the condition that a name contains a text, which is in lower case.

    Few runs are given a name. That of all others is the name of their task, a hyphen and a number; what of it
    fits is found out once for each task, so that to look at a run is to compare numbers.
    """
    task_name = func.lower(template.c.name)
    tasks = select(template.c.template_id)
    whole = tasks.where(task_name.contains(part, autoescape=True))
    fits: Conditions = [run.c.template_id.in_(whole)]
    head, hyphen, digits = part.rpartition("-")
    if not digits.strip("0123456789"):
        if hyphen:
            before_it = tasks.where(task_name.endswith(head, autoescape=True))
            fits.append(and_(run.c.template_id.in_(before_it), _ORDINAL.startswith(digits)))
        else:
            fits.append(_ORDINAL.contains(digits))
    given = func.lower(run.c.name).contains(part, autoescape=True)
    return or_(given, and_(run.c.name.is_(None), or_(*fits)))


def _in_a_row(connection: Connection, search: _Search, before: int | None, limit: int, most: int) -> _Hits:
    """Look at runs in the order of their numbers, which have few gaps."""
    top = _below(connection) if before is None else before
    bottom = min(max(top - most, search.oldest), top)
    query = select(run.c.seq).where(run.c.seq < top, run.c.seq >= bottom, *search.conditions)
    seqs = list(connection.execute(query.order_by(run.c.seq.desc()).limit(limit)).scalars())
    if len(seqs) == limit:
        return _Hits(seqs, seqs[-1], top - seqs[-1])
    # Not `bottom`: where there is a gap the next search should begin beyond it.
    position = _below(connection, bottom) if bottom > search.oldest else 0
    return _Hits(seqs, position or None, top - bottom)


def _by_keys(connection: Connection, search: _Search, before: int | None, limit: int, most: int) -> _Hits:
    """Look at runs in the order in which indexes name them."""
    seqs: list[int] = []
    left = most
    while left > 0:
        affordable = min(MOST_KEYS, -(-left // _PRICE_OF_A_KEY))
        count = affordable if search.conditions else limit
        keys = _next_keys(connection, search, before, count)
        seqs += _fitting(connection, search, keys, limit - len(seqs)) if search.conditions else keys
        left -= len(keys) * _PRICE_OF_A_KEY
        if len(seqs) == limit:
            return _Hits(seqs, seqs[-1], most - left)
        if len(keys) < count:
            return _Hits(seqs, None, most - left)
        before = keys[-1]
    return _Hits(seqs, before, most - left)


def _next_keys(connection: Connection, search: _Search, before: int | None, count: int) -> list[int]:
    top = _BEYOND if before is None else before
    pages = [_page(place, search.oldest, top, count) for place in search.places]
    query = pages[0]
    if len(pages) > 1:
        found = union_all(*(select(page.subquery().c.seq) for page in pages)).subquery()
        query = select(found.c.seq).order_by(found.c.seq.desc()).limit(count)
    return list(connection.execute(query).scalars())


def _page(place: _Place, oldest: int, before: int, count: int) -> Select[Any]:
    seq, conditions, flow_seq = place
    query = select(seq).where(seq >= oldest, *conditions).limit(count)
    if flow_seq is None:
        return query.where(seq < before).order_by(seq.desc())
    # In the words of the index: asked for the order of seq alone, PostgreSQL may go through all runs for it.
    inside = run.c.flow_seq
    query = query.where(inside >= flow_seq, tuple_(inside, seq) < tuple_(literal(flow_seq), literal(before)))
    return query.order_by(inside.desc(), seq.desc())


def _fitting(connection: Connection, search: _Search, keys: list[int], limit: int) -> list[int]:
    query = select(run.c.seq).where(run.c.seq.in_(keys), *search.conditions)
    return list(connection.execute(query.order_by(run.c.seq.desc()).limit(limit)).scalars())


def _below(connection: Connection, seq: int | None = None) -> int:
    """Return the number behind that of the newest run, of those below one; 0 when there is none."""
    query = select(func.max(run.c.seq))
    newest = connection.execute(query if seq is None else query.where(run.c.seq < seq)).scalar()
    return 0 if newest is None else int(newest) + 1


def _submitted_us(connection: Connection, seq: int) -> int:
    """Return when the oldest run was submitted, of those from one on."""
    query = select(run.c.submitted_us).where(run.c.seq >= seq).order_by(run.c.seq).limit(1)
    return connection.execute(query).scalar() or 0


def _oldest_open(connection: Connection) -> int:
    """Return a number that no open run has a lower one than: noted now and then, and true from then on."""
    return connection.execute(select(func.min(shard_owner.c.low_seq))).scalar() or 1
