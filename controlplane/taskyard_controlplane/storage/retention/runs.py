"""Removes runs that have ended, and what is about them."""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from typing import Final

from sqlalchemy import Connection, delete, func, select, update

from taskyard_contract.states import FIRST_FINAL, RunState
from taskyard_controlplane.storage.interface import BlobState
from taskyard_controlplane.storage.interface.removals import AboutRuns, OldRun, RemovedRuns, Swept
from taskyard_controlplane.storage.lookups import Lookup
from taskyard_controlplane.storage.retention.gone_ids import are_gone, forget, last_gone, remember
from taskyard_controlplane.storage.retention.keyed import KeyedStatement
from taskyard_controlplane.storage.retention.references import OF_A_RUN, remove_entries
from taskyard_controlplane.storage.schema import (
    ARE_FLOWS,
    backlog,
    blob_ref,
    cache_entry,
    run,
    run_event,
    run_log,
    shard_owner,
    template,
)

_flow: Final = run.alias("flow")
_OLD: Final = (
    select(
        run.c.seq, run.c.run_id, run.c.kind, run.c.state, run.c.flow_seq, run.c.submitted_us, run.c.ended_us,
        run.c.session_id, func.coalesce(template.c.name, ""), _flow.c.state,
    )
    .outerjoin(template, template.c.template_id == run.c.template_id)
    .outerjoin(_flow, _flow.c.seq == run.c.flow_seq)
    .order_by(run.c.seq)
)  # fmt: skip
_RUN_IDS: Final = Lookup(select(run.c.run_id), run.c.run_id)
_COPIES: Final = ("run_id", "template_id", "ended_us", "result", "outcome")
"""What a cache entry keeps of its run when that goes."""
_ENDED: Final = KeyedStatement(f"SELECT seq FROM run WHERE state >= {FIRST_FINAL} AND seq {{keys}}")
_COPY_TO_CACHE: Final = KeyedStatement(
    f"UPDATE cache_entry SET {', '.join(f'{name} = gone.{name}' for name in _COPIES)} FROM run AS gone"
    " WHERE gone.cache_key = cache_entry.cache_key AND gone.seq = cache_entry.run_seq AND gone.seq {keys}"
)
_REFS: Final = f"kind IN ({', '.join(map(str, OF_A_RUN))}) AND holder {{keys}}"
_LET_GO: Final = (
    KeyedStatement(
        f"UPDATE blob SET state = {int(BlobState.RELEASED)} WHERE state = {int(BlobState.KEPT)}"
        f" AND name IN (SELECT name FROM blob_ref WHERE {_REFS})"
    ),
    KeyedStatement(f"DELETE FROM blob_ref WHERE {_REFS}"),
)
_EVENTS: Final = KeyedStatement("DELETE FROM run_event WHERE run_seq {keys}")
_LOGS: Final = KeyedStatement("DELETE FROM run_log WHERE run_seq {keys}")
_ROWS: Final = (
    # Its key begins with how the run has ended.
    KeyedStatement(
        "DELETE FROM ended_badly WHERE (state, kind, seq) IN (SELECT state, kind, seq FROM run"
        f" WHERE state <> {int(RunState.COMPLETED)} AND seq {{keys}})"
    ),
    KeyedStatement("DELETE FROM backlog WHERE seq {keys}"),
    KeyedStatement("DELETE FROM run WHERE seq {keys}"),
)


class OwnedRunRemovals:
    """`RunRemovals`, in transactions that have checked that this is still the owner."""

    def __init__(self, owning: Callable[[], AbstractContextManager[Connection]]) -> None:
        """Write in the transactions of `owning`."""
        self._owning = owning

    def runs(self, after_seq: int, limit: int) -> list[OldRun]:
        with self._owning() as connection:
            rows = connection.execute(_OLD.where(run.c.seq > after_seq).limit(limit))
            return [OldRun._make(row) for row in rows]

    def flows(self, after_seq: int, limit: int) -> list[OldRun]:
        with self._owning() as connection:
            rows = connection.execute(_OLD.where(ARE_FLOWS, run.c.seq > after_seq).limit(limit))
            return [OldRun._make(row) for row in rows]

    def about(self, seqs: Sequence[int]) -> AboutRuns:
        with self._owning() as connection:
            return _about(connection, self._removable(connection, seqs))

    def _removable(self, connection: Connection, seqs: Sequence[int]) -> list[int]:
        """Return those of some runs that have ended."""
        return [seq for (seq,) in _ENDED.run(connection, seqs).fetchall()] if seqs else []

    def expired(self, now_us: int) -> int:
        query = select(func.count()).select_from(cache_entry).where(cache_entry.c.expires_us <= now_us)
        with self._owning() as connection:
            return connection.execute(query).scalar_one()

    def waits_of(self, after_seq: int, limit: int) -> tuple[list[bytes], int | None]:
        query = (
            select(backlog.c.seq, run.c.upstream)
            .join(run, run.c.seq == backlog.c.seq)
            .where(backlog.c.seq > after_seq)
            .order_by(backlog.c.seq)
        )
        with self._owning() as connection:
            rows = connection.execute(query.limit(limit)).all()
        return [edges for _, edges in rows if edges], rows[-1][0] if len(rows) == limit else None

    def remove_runs(self, seqs: Sequence[int], now_us: int) -> RemovedRuns:
        with self._owning() as connection:
            gone = self._removable(connection, seqs)
            if not gone:
                return RemovedRuns()
            if max(gone) == connection.execute(select(func.max(run.c.seq))).scalar():
                # Nothing else would say where counting goes on.
                newer = func.coalesce(shard_owner.c.last_gone_seq, 0) < max(gone)
                connection.execute(update(shard_owner).where(newer).values(last_gone_seq=max(gone)))
            _COPY_TO_CACHE.run(connection, gone)
            last_id = remember(connection, gone, now_us)
            for statement in _LET_GO:
                statement.run(connection, gone)
            events = _EVENTS.run(connection, gone).rowcount
            logs = _LOGS.run(connection, gone).rowcount
            for statement in _ROWS:
                statement.run(connection, gone)
        return RemovedRuns(len(gone), events, logs, last_id)

    def remove_logs(self, after: int, before_us: int, limit: int) -> Swept:
        query = (
            select(run_log.c.log_id, run_log.c.at_us, run.c.state)
            .outerjoin(run, run.c.seq == run_log.c.run_seq)
            .where(run_log.c.log_id > after)
            .order_by(run_log.c.log_id)
        )
        with self._owning() as connection:
            rows = connection.execute(query.limit(limit)).all()
            old = [row for row in rows if row[1] < before_us]
            ids = [log_id for log_id, _, state in old if state is None or state >= FIRST_FINAL]
            connection.execute(delete(run_log).where(run_log.c.log_id.in_(ids)))
        return Swept(len(ids), rows[-1][0] if old and len(rows) == limit else None)

    def remove_expired(self, after: str, now_us: int, limit: int) -> Swept:
        query = (
            select(cache_entry.c.cache_key, cache_entry.c.run_seq, cache_entry.c.expires_us)
            .where(cache_entry.c.cache_key > after)
            .order_by(cache_entry.c.cache_key)
        )
        with self._owning() as connection:
            rows = connection.execute(query.limit(limit)).all()
            keys = [key for key, _, expires_us in rows if expires_us is not None and expires_us <= now_us]
            remove_entries(connection, keys)
        return Swept(len(keys), rows[-1][0] if len(rows) == limit else None)

    def seen(self, run_ids: Collection[bytes]) -> list[bytes]:
        with self._owning() as connection:
            here = (bytes(run_id) for (run_id,) in _RUN_IDS.rows(connection, list(run_ids)))
            return list(dict.fromkeys((*here, *are_gone(connection, run_ids))))

    def last_gone(self) -> bytes:
        with self._owning() as connection:
            return last_gone(connection)

    def forget_gone(self, after: object, before_us: int, limit: int) -> Swept:
        with self._owning() as connection:
            return forget(connection, after, before_us, limit)


def _about(connection: Connection, seqs: Sequence[int]) -> AboutRuns:
    refs = select(blob_ref.c.name).where(blob_ref.c.kind.in_(OF_A_RUN), blob_ref.c.holder.in_(seqs))
    counts = [
        select(func.count()).select_from(table).where(column.in_(seqs)).scalar_subquery()
        for table, column in (
            (run, run.c.seq),
            (run_event, run_event.c.run_seq),
            (run_log, run_log.c.run_seq),
        )
    ]
    names = list(connection.execute(refs).scalars())
    runs, events, logs = connection.execute(select(*counts)).one()
    return AboutRuns(runs, events, logs, names)
