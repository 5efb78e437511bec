"""Looks for the runs that fit a filter, in the order of their numbers, and at no more of them than it may.

What is asked for decides where to look. Runs of a flow run, flow runs, and runs that ended badly have an
index to go through, and runs may be named; so a page of these reads what it shows. Everything else is looked
at run by run: no index says which runs are completed, because most of them are, or which have a text
somewhere in their name. However rare it is, the search ends after so many runs, and says how far it came.

A search knows of a run only its number, so the statements that could read much are too plain for a planner to
read more than is meant. Between which numbers it looks, the filter may say as well: open runs are not below
the oldest, and numbers are given in the order of time.
"""

from bisect import bisect_left, bisect_right
from itertools import islice
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Integer,
    Select,
    Text,
    and_,
    any_,
    cast,
    func,
    literal,
    or_,
    select,
    tuple_,
    union_all,
)
from sqlalchemy.dialects.postgresql import ARRAY

from taskyard_contract.states import FIRST_FINAL, RunKind, RunState
from taskyard_controlplane.storage import records
from taskyard_controlplane.storage.interface import RunFilter
from taskyard_controlplane.storage.lookups import MOST_KEYS
from taskyard_controlplane.storage.schema import ARE_FLOWS, ended_badly, run, shard_owner, template

ORDINAL: Final = cast(run.c.ordinal, Text)

_BAD_ENDS: Final = frozenset(one for one in RunState if one >= FIRST_FINAL and one != RunState.COMPLETED)
_PRICE_OF_A_KEY: Final = 5
"""A run that is read by its number costs about as much as so many that lie in a row."""
CLOCK_SLACK_US: Final = 3_600_000_000
"""So far the clock that times of submission come from may have been turned back, and runs are still found by
them: an hour."""
_BEYOND: Final = (1 << 63) - 1
"""No run has a higher number."""

Conditions = list[ColumnElement[bool]]


class Place(NamedTuple):
    """A part of an index that names runs in the order of their numbers."""

    seq: Column[int]
    conditions: Conditions
    flow_seq: int | None = None
    """Only the runs in this flow run."""


class Search(NamedTuple):
    """Where to look for runs, and what to look for."""

    places: list[Place]
    """Which together name all runs that can fit; none for all runs in a row."""
    conditions: Conditions
    """What that does not settle, and each run has to be looked at for."""
    oldest: int
    """No run with a lower number can fit."""
    end: int
    """No run with this number or a higher one can."""
    oldest_first: bool = False
    named: list[int] | None = None
    """The runs that were named, in order; instead of places."""

    @property
    def bounded(self) -> bool:
        """Whether there is anything to search for: without that, all runs fit."""
        return bool(self.places or self.conditions or self.named is not None)


class Hits(NamedTuple):
    """The numbers of runs that fit, in the order that was asked for."""

    seqs: list[int]
    position: int | None
    """Nothing beyond was looked at; None when there is nothing beyond."""
    looked_at: int


def search_for(
    connection: Connection, wanted: RunFilter, templates: list[int] | None, *, oldest_first: bool
) -> Search:
    """Return where to look for the runs of a filter, which have one of these `templates` (None: any)."""
    states = frozenset(wanted.states)
    named = None if wanted.run_ids is None else sorted(records.seqs_of(connection, wanted.run_ids))
    if named is None and states and states <= _BAD_ENDS:
        places, conditions = _bad_ends(wanted)
    else:
        places, conditions = _runs(wanted, anywhere=named is not None)
    conditions += _more_conditions(connection, wanted, templates)
    oldest, end = _between(connection, wanted)
    if states and max(states) < FIRST_FINAL:
        oldest = max(oldest, oldest_open(connection))
    return Search(places, conditions, oldest, end, oldest_first, named)


def _runs(wanted: RunFilter, *, anywhere: bool) -> tuple[list[Place], Conditions]:
    conditions: Conditions = [run.c.state.in_(wanted.states)] if wanted.states else []
    if wanted.flow_seq is None and wanted.kind == RunKind.FLOW and not anywhere:
        return [Place(run.c.seq, [ARE_FLOWS])], conditions
    if wanted.kind:
        conditions.append(run.c.kind == wanted.kind)
    if anywhere and wanted.flow_seq is not None:
        conditions.append(run.c.flow_seq == wanted.flow_seq)
    return [] if anywhere or wanted.flow_seq is None else [Place(run.c.seq, [], wanted.flow_seq)], conditions


def _bad_ends(wanted: RunFilter) -> tuple[list[Place], Conditions]:
    """Return a place for each state, and each kind: there an index is in the order of seq."""
    seq, states = ended_badly.c.seq, set(wanted.states)
    if wanted.flow_seq is not None:
        inside = ended_badly.c.flow_seq == wanted.flow_seq
        places = [Place(seq, [inside, ended_badly.c.state == state]) for state in states]
        return places, [run.c.kind == wanted.kind] if wanted.kind else []
    kinds = [wanted.kind] if wanted.kind else list(RunKind)
    return [
        Place(seq, [ended_badly.c.state == state, ended_badly.c.kind == kind])
        for state in states
        for kind in kinds
    ], []


def _more_conditions(connection: Connection, wanted: RunFilter, templates: list[int] | None) -> Conditions:
    conditions: Conditions = []
    if wanted.name_contains:
        conditions.append(_named(wanted.name_contains.lower().replace("\x00", "")))  # PostgreSQL takes no NUL
    if templates is not None:
        conditions.append(_has_template(connection, templates))
    if wanted.caller_id:
        conditions.append(run.c.caller_id == wanted.caller_id)
    if wanted.from_us:
        conditions.append(run.c.submitted_us >= wanted.from_us)
    if wanted.before_us:
        conditions.append(run.c.submitted_us < wanted.before_us)
    return conditions


def _has_template(connection: Connection, templates: list[int]) -> ColumnElement[bool]:
    if len(templates) <= MOST_KEYS:
        return run.c.template_id.in_(templates)
    # One parameter, however many there are: a queue may be that of nearly all templates.
    if connection.dialect.name == "sqlite":
        listed = func.json_each(str(templates)).table_valued("value")
        return run.c.template_id.in_(select(listed.c.value))
    return run.c.template_id == any_(literal(templates, ARRAY(Integer)))


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
            fits.append(and_(run.c.template_id.in_(before_it), ORDINAL.startswith(digits)))
        else:
            fits.append(ORDINAL.contains(digits))
    given = func.lower(run.c.name).contains(part, autoescape=True)
    return or_(given, and_(run.c.name.is_(None), or_(*fits)))


# Between which numbers.


def _between(connection: Connection, wanted: RunFilter) -> tuple[int, int]:
    """Return the number from which on, and that below which, runs were submitted when it was asked for."""
    oldest, end = 1, _BEYOND
    if wanted.from_us or wanted.before_us:
        newest = below(connection)
        if wanted.from_us:
            oldest = _first_since(connection, wanted.from_us - CLOCK_SLACK_US, newest)
        if wanted.before_us:
            end = _first_since(connection, wanted.before_us + CLOCK_SLACK_US, newest)
    return oldest, end


def _first_since(connection: Connection, at_us: int, end: int) -> int:
    """Return the number of the first run submitted at a time or later; `end` when there is none.

    By halves: no index has the times, and in the order of numbers they only grow.
    """
    low, high = 1, end
    query = select(run.c.seq, run.c.submitted_us).order_by(run.c.seq).limit(1)
    while low < high:
        middle = (low + high) // 2
        found = connection.execute(query.where(run.c.seq >= middle, run.c.seq < high)).one_or_none()
        if found is None or found[1] >= at_us:
            high = middle
        else:
            low = found[0] + 1
    return low


def below(connection: Connection, seq: int | None = None) -> int:
    """Return the number behind that of the newest run, of those below one; 0 when there is none."""
    query = select(func.max(run.c.seq))
    newest = connection.execute(query if seq is None else query.where(run.c.seq < seq)).scalar()
    return 0 if newest is None else int(newest) + 1


def oldest_open(connection: Connection) -> int:
    """Return a number that no open run has a lower one than: noted now and then, and true from then on."""
    return connection.execute(select(func.min(shard_owner.c.low_seq))).scalar() or 1


# Looking.


def look(connection: Connection, search: Search, beyond: int | None, limit: int, most: int) -> Hits:
    """Look beyond a number for so many runs that fit, at so many that may.

    Args:
        connection: To the database.
        search: Where, and for what.
        beyond: Where to go on; None to begin.
        limit: How many hits are enough.
        most: How many runs to look at, in the price of one of many in a row.
    """
    by_keys = search.places or search.named is not None
    return (_by_keys if by_keys else _in_a_row)(connection, search, beyond, limit, most)


def window(
    connection: Connection, search: Search, beyond: int | None, most: int
) -> tuple[int, int, int | None]:
    """Return the numbers between which to look at `most` runs in a row, and where to go on behind them."""
    end = min(below(connection), search.end)
    if search.oldest_first:
        bottom = search.oldest if beyond is None else max(beyond + 1, search.oldest)
        top = min(bottom + most, end)
        # Where there is a gap the next search should begin beyond it.
        behind = _first_from(connection, top) if top < end else None
        return bottom, max(bottom, top), None if behind is None or behind >= end else behind - 1
    top = end if beyond is None else min(beyond, end)
    bottom = min(max(top - most, search.oldest), top)
    position = below(connection, bottom) if bottom > search.oldest else 0
    return bottom, top, position or None


def _first_from(connection: Connection, seq: int) -> int | None:
    return connection.execute(select(func.min(run.c.seq)).where(run.c.seq >= seq)).scalar()


def _in_a_row(connection: Connection, search: Search, beyond: int | None, limit: int, most: int) -> Hits:
    """Look at runs in the order of their numbers, which have few gaps."""
    bottom, top, position = window(connection, search, beyond, most)
    query = select(run.c.seq).where(run.c.seq < top, run.c.seq >= bottom, *search.conditions)
    query = query.order_by(run.c.seq if search.oldest_first else run.c.seq.desc())
    seqs = list(connection.execute(query.limit(limit)).scalars())
    if len(seqs) == limit:
        last = seqs[-1]
        return Hits(seqs, last, last - bottom + 1 if search.oldest_first else top - last)
    return Hits(seqs, position, top - bottom)


def _by_keys(connection: Connection, search: Search, beyond: int | None, limit: int, most: int) -> Hits:
    """Look at runs in the order in which indexes name them."""
    seqs: list[int] = []
    left = most
    while left > 0:
        count = keys_at_once(left) if search.conditions else limit
        keys = next_keys(connection, search, beyond, count)
        seqs += _fitting(connection, search, keys, limit - len(seqs)) if search.conditions else keys
        left -= price_of(keys)
        if len(seqs) == limit:
            return Hits(seqs, seqs[-1], most - left)
        if len(keys) < count:
            return Hits(seqs, None, most - left)
        beyond = keys[-1]
    return Hits(seqs, beyond, most - left)


def keys_at_once(left: int) -> int:
    """Return how many keys to read at once, with so much left to look at."""
    return min(MOST_KEYS, -(-left // _PRICE_OF_A_KEY))


def price_of(keys: list[int]) -> int:
    """Return as how many runs in a row those under some keys count."""
    return len(keys) * _PRICE_OF_A_KEY


def next_keys(connection: Connection, search: Search, beyond: int | None, count: int) -> list[int]:
    """Return the numbers of the next runs in the places of a search, whether they fit or not."""
    if search.named is not None:
        return _next_named(search, search.named, beyond, count)
    pages = [_page(place, search, beyond, count) for place in search.places]
    query = pages[0]
    if len(pages) > 1:
        found = union_all(*(select(page.subquery().c.seq) for page in pages)).subquery()
        order = found.c.seq if search.oldest_first else found.c.seq.desc()
        query = select(found.c.seq).order_by(order).limit(count)
    return list(connection.execute(query).scalars())


def _next_named(search: Search, named: list[int], beyond: int | None, count: int) -> list[int]:
    low, high = bisect_left(named, search.oldest), bisect_left(named, search.end)
    if search.oldest_first:
        low = low if beyond is None else max(low, bisect_right(named, beyond))
        return named[low : min(high, low + count)]
    high = high if beyond is None else min(high, bisect_left(named, beyond))
    return list(islice(reversed(named[low:high]), count))


def _page(place: Place, search: Search, beyond: int | None, count: int) -> Select[Any]:
    seq, conditions, flow_seq = place
    query = select(seq).where(*conditions).limit(count)
    if search.oldest_first:
        return _page_up(query, seq, flow_seq, max(search.oldest - 1, beyond or 0), search.end)
    top = search.end if beyond is None else min(beyond, search.end)
    query = query.where(seq >= search.oldest)
    if flow_seq is None:
        return query.where(seq < top).order_by(seq.desc())
    # In the words of the index: asked for the order of seq alone, PostgreSQL may go through all runs for it.
    inside = run.c.flow_seq
    query = query.where(inside >= flow_seq, tuple_(inside, seq) < tuple_(literal(flow_seq), literal(top)))
    return query.order_by(inside.desc(), seq.desc())


def _page_up(query: Select[Any], seq: Column[int], flow_seq: int | None, after: int, end: int) -> Select[Any]:
    query = query.where(seq < end)
    if flow_seq is None:
        return query.where(seq > after).order_by(seq)
    inside = run.c.flow_seq
    query = query.where(inside <= flow_seq, tuple_(inside, seq) > tuple_(literal(flow_seq), literal(after)))
    return query.order_by(inside, seq)


def _fitting(connection: Connection, search: Search, keys: list[int], limit: int) -> list[int]:
    query = select(run.c.seq).where(run.c.seq.in_(keys), *search.conditions)
    query = query.order_by(run.c.seq if search.oldest_first else run.c.seq.desc())
    return list(connection.execute(query.limit(limit)).scalars())
