"""Removes the rows of blobs that nobody refers to."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

from sqlalchemy import (
    Connection,
    ScalarSelect,
    Select,
    and_,
    case,
    delete,
    exists,
    func,
    select,
    tuple_,
    update,
)

from taskyard_contract.blobs.names import is_result, run_of
from taskyard_contract.states import FIRST_FINAL
from taskyard_controlplane.storage.interface import BlobState
from taskyard_controlplane.storage.interface.removals import KeptBytes, RefKey, Swept
from taskyard_controlplane.storage.lookups import Lookup
from taskyard_controlplane.storage.retention.references import (
    CACHE,
    OF_A_RUN,
    TEMPLATE,
    drop_refs,
    remove_code,
)
from taskyard_controlplane.storage.schema import ARE_LEAVING, blob, blob_ref, cache_entry, run, template

_NAMES: Final = Lookup(select(blob.c.name), blob.c.name)
_STATES: Final = Lookup(select(run.c.run_id, run.c.state), run.c.run_id)
_KEPT, _RELEASED, _DOOMED = map(int, (BlobState.KEPT, BlobState.RELEASED, BlobState.DOOMED))


class OwnedBlobRemovals:
    """`BlobRemovals`, in transactions that have checked that this is still the owner."""

    def __init__(self, owning: Callable[[], AbstractContextManager[Connection]]) -> None:
        """Write in the transactions of `owning`."""
        self._owning = owning

    def released(self, limit: int) -> list[str]:
        query = select(blob.c.name).where(ARE_LEAVING, blob.c.state == _RELEASED).order_by(blob.c.name)
        with self._owning() as connection:
            return list(connection.execute(query.limit(limit)).scalars())

    def doom(self, names: Sequence[str], expires_us: int) -> list[str]:
        asked = and_(blob.c.name.in_(names), ARE_LEAVING)
        with self._owning() as connection:
            doomed = list(connection.execute(select(blob.c.name).where(asked, ~_referred_to())).scalars())
            is_doomed = blob.c.name.in_(doomed)
            connection.execute(update(blob).where(is_doomed).values(state=_DOOMED, expires_us=expires_us))
            connection.execute(update(blob).where(asked, ~is_doomed).values(state=_KEPT, expires_us=None))
        return doomed

    def doomed(self) -> list[str]:
        with self._owning() as connection:
            query = select(blob.c.name).where(ARE_LEAVING, blob.c.state == _DOOMED)
            return list(connection.execute(query).scalars())

    def remove_blobs(self, names: Sequence[str]) -> None:
        doomed = and_(blob.c.name.in_(names), blob.c.state == _DOOMED)
        with self._owning() as connection:
            gone = list(connection.execute(select(blob.c.name).where(doomed)).scalars())
            connection.execute(delete(blob).where(doomed))
            remove_code(connection, gone)

    def orphans(self, names: Sequence[str]) -> list[str]:
        runs = {name: run_of(name) for name in names if is_result(name)}
        with self._owning() as connection:
            # In one transaction: a report that came between two would end the run and name its result.
            known = {name for (name,) in _NAMES.rows(connection, names)}
            states = dict(_STATES.rows(connection, list(runs.values())))
        return [
            name
            for name in names
            if name not in known and states.get(runs.get(name, b""), FIRST_FINAL) >= FIRST_FINAL
        ]

    def sizes_of(self, seqs: Sequence[int]) -> dict[int, int]:
        query = (
            select(blob_ref.c.holder, func.sum(blob.c.size))
            .join(blob, blob.c.name == blob_ref.c.name)
            .where(blob_ref.c.kind.in_(OF_A_RUN), blob_ref.c.holder.in_(seqs))
            .group_by(blob_ref.c.holder)
        )
        with self._owning() as connection:
            return {seq: int(size) for seq, size in connection.execute(query)}

    def referred(self, names: Sequence[str]) -> dict[str, tuple[int, int]]:
        refs = (
            select(func.count()).select_from(blob_ref).where(blob_ref.c.name == blob.c.name).scalar_subquery()
        )
        query = select(blob.c.name, blob.c.size, refs).where(blob.c.name.in_(names))
        with self._owning() as connection:
            return {name: (size, count) for name, size, count in connection.execute(query)}

    def sweep_refs(self, after: object, limit: int) -> Swept:
        keys = (blob_ref.c.kind, blob_ref.c.holder, blob_ref.c.name)
        is_held = case(
            (blob_ref.c.kind == CACHE, _is_entry()),
            (blob_ref.c.kind == TEMPLATE, exists().where(template.c.template_id == blob_ref.c.holder)),
            else_=exists().where(run.c.seq == blob_ref.c.holder),
        )
        query = select(*keys, is_held).order_by(*keys).limit(limit)
        if isinstance(after, RefKey):
            query = query.where(tuple_(*keys) > tuple_(*after))
        with self._owning() as connection:
            rows = connection.execute(query).all()
            over = [RefKey(*key) for *key, held in rows if not held]
            for key in over:
                drop_refs(
                    connection, and_(*(column == value for column, value in zip(keys, key, strict=True)))
                )
        return Swept(len(over), RefKey(*rows[-1][:3]) if len(rows) == limit else None)

    def sweep_blobs(self, after: object, before_us: int, limit: int) -> Swept:
        lost = and_(blob.c.state == _KEPT, blob.c.created_us < before_us, ~_referred_to())
        query = select(blob.c.name, case((lost, 1), else_=0)).order_by(blob.c.name).limit(limit)
        if isinstance(after, str):
            query = query.where(blob.c.name > after)
        with self._owning() as connection:
            rows = connection.execute(query).all()
            names = [name for name, is_lost in rows if is_lost]
            connection.execute(update(blob).where(blob.c.name.in_(names)).values(state=_RELEASED))
        return Swept(len(names), rows[-1][0] if len(rows) == limit else None)

    def kept_bytes(self, after: str, limit: int) -> tuple[list[KeptBytes], str | None]:
        # One that several refer to counts for the first kind of them.
        query = select(blob.c.name, blob.c.size, func.coalesce(_kinds_of(), 0)).where(blob.c.name > after)
        with self._owning() as connection:
            rows = connection.execute(query.order_by(blob.c.name).limit(limit)).all()
        counts: Counter[int] = Counter()
        sizes: Counter[int] = Counter()
        for _, size, kind in rows:
            if size:  # code that came inside other messages is in the database, and has none
                counts[kind] += 1
                sizes[kind] += size
        last = rows[-1][0] if len(rows) == limit else None
        return [KeptBytes(kind, counts[kind], sizes[kind]) for kind in sorted(counts)], last


def _referred_to() -> Any:
    return exists().where(blob_ref.c.name == blob.c.name)


def _kinds_of() -> ScalarSelect[Any]:
    lowest: Select[Any] = select(func.min(blob_ref.c.kind)).where(blob_ref.c.name == blob.c.name)
    return lowest.scalar_subquery()


def _is_entry() -> Any:
    return exists().where(
        cache_entry.c.cache_key == blob_ref.c.cache_key,
        cache_entry.c.run_seq == blob_ref.c.holder,
    )
