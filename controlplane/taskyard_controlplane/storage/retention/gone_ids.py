"""Ids of runs that were removed, for a while: who submits one again is refused as if the run were there.

Runs that are made together have ids that follow each other (`taskyard_contract.id_factory`), and are removed
together. So what is kept is from where to where ids have gone, of each process that made some: a row for
thousands of them. Ids that somebody else makes, however he does, take a row each.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Final, NamedTuple

from sqlalchemy import Connection, delete, insert, select, tuple_, update

from taskyard_controlplane.storage.interface.removals import Swept
from taskyard_controlplane.storage.retention.keyed import KeyedStatement
from taskyard_controlplane.storage.schema import gone_ids

HALF: Final = 8
"""An id is a number that goes up, of so many bytes, and what is the same for all ids of a process."""
REMEMBERED_US: Final = 24 * 3600 * 1_000_000
"""Who has got no answer submits again within this time, so of older runs nothing has to be remembered."""
_YOUNG: Final = "SELECT run_id FROM run WHERE submitted_us > {since_us} AND seq {{keys}}"


class Range(NamedTuple):
    """Ids of one process that follow each other."""

    tail: bytes
    first: int
    last: int


def ranges_of(run_ids: Iterable[bytes]) -> Iterator[Range]:
    """Iterate over the ranges that some ids make up."""
    split = sorted((run_id[HALF:], int.from_bytes(run_id[:HALF], signed=True)) for run_id in run_ids)
    for tail, ids in groupby(split, itemgetter(0)):
        numbers = [number for _, number in ids]
        first = last = numbers[0]
        for number in numbers[1:]:
            if number > last + 1:
                yield Range(tail, first, last)
                first = number
            last = number
        yield Range(tail, first, last)


def remember(connection: Connection, seqs: Sequence[int], now_us: int) -> bytes:
    """Keep the ids of those of some runs that are young and go now; returns the highest one."""
    statement = KeyedStatement(_YOUNG.format(since_us=now_us - REMEMBERED_US))
    ids = [bytes(run_id) for (run_id,) in statement.run(connection, seqs).fetchall()]
    for tail, first, last in ranges_of(ids):
        before = _at_or_before(connection, tail, first)
        if before is not None and before.last >= first - 1:
            same = (gone_ids.c.tail == tail) & (gone_ids.c.first == before.first)
            changed = update(gone_ids).where(same).values(last=max(before.last, last), gone_us=now_us)
            connection.execute(changed)
        else:
            connection.execute(insert(gone_ids).values(tail=tail, first=first, last=last, gone_us=now_us))
    return max(ids, default=b"")


def are_gone(connection: Connection, run_ids: Iterable[bytes]) -> Iterator[bytes]:
    """Iterate over those of some ids that are remembered."""
    for run_id in run_ids:
        number = int.from_bytes(run_id[:HALF], signed=True)
        before = _at_or_before(connection, run_id[HALF:], number)
        if before is not None and before.last >= number:
            yield run_id


def _at_or_before(connection: Connection, tail: bytes, number: int) -> Range | None:
    columns = (gone_ids.c.tail, gone_ids.c.first, gone_ids.c.last)
    query = select(*columns).where(gone_ids.c.tail == tail, gone_ids.c.first <= number)
    row = connection.execute(query.order_by(gone_ids.c.first.desc()).limit(1)).first()
    return None if row is None else Range(bytes(row[0]), row[1], row[2])


def last_gone(connection: Connection) -> bytes:
    """Return the highest id that is remembered; empty when there is none."""
    query = (
        select(gone_ids.c.last, gone_ids.c.tail)
        .order_by(gone_ids.c.last.desc(), gone_ids.c.tail.desc())
        .limit(1)
    )
    row = connection.execute(query).first()
    return b"" if row is None else row[0].to_bytes(HALF, signed=True) + bytes(row[1])


def forget(connection: Connection, after: object, before_us: int, limit: int) -> Swept:
    """Forget those of the next ranges that went before a time."""
    key = (gone_ids.c.tail, gone_ids.c.first)
    query = select(*key, gone_ids.c.gone_us).order_by(*key).limit(limit)
    if isinstance(after, tuple):
        query = query.where(tuple_(*key) > tuple_(*after))
    rows = connection.execute(query).all()
    old = [(tail, first) for tail, first, gone_us in rows if gone_us < before_us]
    for tail, first in old:
        connection.execute(delete(gone_ids).where(gone_ids.c.tail == tail, gone_ids.c.first == first))
    return Swept(len(old), (bytes(rows[-1][0]), rows[-1][1]) if len(rows) == limit else None)
