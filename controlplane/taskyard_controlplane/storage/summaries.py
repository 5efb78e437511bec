"""What is said of all runs inside a flow run together: how many of each task are in which state.

The database counts, so that a flow run with half a million runs costs no more memory here than one with ten.
How long runs took is counted as well, by the first two digits: from that a median can be told, and counts of
different pages can be added up.
"""

from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Integer, Text, and_, case, cast, func, literal, null, select

from taskyard_controlplane.storage.interface import RunSums, SummedRuns
from taskyard_controlplane.storage.schema import run, template

DIGITS: Final = 2
"""Of a duration, that are told apart."""

_caller = run.alias("caller")
_caller_task = template.alias("caller_task")


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
