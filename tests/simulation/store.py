"""The database: the real store on SQLite in memory, with what can happen to a database.

The database outlives its owners because a second connection keeps it. Its schema is copied from a template,
because making it takes longer than most plays. What is committed is noted in the history, from the rows.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, Final

from sqlalchemy.util import LRUCache

from simulation.history import Event
from simulation.loop import NodeKilled, SimulatedClock
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.errors import NotOwner, StorageFull, StorageUnavailable
from taskyard_contract.for_people.run_lines import FLOW_LOGGER, TASK_LOGGER
from taskyard_controlplane.owner.logs.writer import LOGGER
from taskyard_controlplane.storage import create_reader, create_store
from taskyard_controlplane.storage.interface import EndedRow, LogRow, NewRunRow, WriteBatch
from taskyard_controlplane.storage.ownership import check_generation

FULL: Final = "full"
"""Nothing can be written."""
TIGHT: Final = "tight"
"""Nothing large can be written: new runs, code, logs."""
DOWN: Final = "down"
AMBIGUOUS: Final = "ambiguous"
"""Commits are made, and their answers are lost."""
FINE: Final = ""


def result_of(result: bytes | None, outcome: bytes | None) -> bytes | None:
    """Return what a run has returned, wherever that is recorded."""
    if result is not None or outcome is None:
        return result
    return pb.RunOutcome.FromString(outcome).result.data or None


class Compiled(LRUCache[Any, Any]):
    """Compiled statements of all plays: a key begins with the dialect, which each engine has one of."""

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(key[1:], default)

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key[1:], value)


_CALLER, _SESSION = NewRunRow._fields.index("caller_id"), NewRunRow._fields.index("session_id")
_MESSAGE, _LOGGER = LogRow._fields.index("message"), LogRow._fields.index("logger")
OWN_LOGGERS = (TASK_LOGGER, FLOW_LOGGER, LOGGER)
_names = count(1)
_compiled = Compiled(1000)
_template: list[sqlite3.Connection] = []


def _copy_of_template(name: str, clock: SimulatedClock) -> sqlite3.Connection:
    if not _template:
        store = create_store("sqlite://?name=sim-template", clock.monotonic)
        store.open()
        kept = sqlite3.connect(":memory:")
        other = sqlite3.connect("file:/taskyard-sim-template?vfs=memdb", uri=True)
        other.execute("DELETE FROM shard_owner")
        other.commit()
        other.backup(kept)
        other.close()
        store.close()
        _template.append(kept)
    keeper = sqlite3.connect(f"file:/taskyard-{name}?vfs=memdb", uri=True, isolation_level=None)
    _template[0].backup(keeper)
    return keeper


class Database:
    """One database, from the first owner to the last."""

    def __init__(self, world: Any) -> None:
        self._world = world
        self.name = f"sim-{next(_names)}"
        self._keeper = _copy_of_template(self.name, world.clock)
        self._log_keeper = sqlite3.connect(f"file:/taskyard-{self.name}-logs?vfs=memdb", uri=True)
        self.mood = FINE
        self.commits = 0
        """Commits tried so far, by any owner."""
        self.crash_before: int | None = None
        self.crash_after: int | None = None
        self.generation = 0
        """Of the newest owner."""
        self._seen: set[tuple[int, int]] = set()
        self._runs: dict[int, str] = {}
        self._logged: set[int] = set()

    def open(self) -> "WatchedStore":
        """Return the store of another owner."""
        store: Any = create_store(f"sqlite://?name={self.name}", self._world.clock.monotonic)
        # SQLAlchemy compiles statements once for each engine, which would be a third of all the time.
        store._engine._compiled_cache = _compiled
        return WatchedStore(self, store)

    def reader(self) -> "WatchedReader":
        """Return what a server reads for people with."""
        return WatchedReader(self)

    def close(self) -> None:
        self._keeper.close()
        self._log_keeper.close()

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Read what is recorded."""
        return self._keeper.execute(sql).fetchall()

    def before(self, batch: WriteBatch) -> None:
        """Fail, if this commit is to fail."""
        self.commits += 1
        if self.commits == self.crash_before:
            raise NodeKilled
        mood = self.mood
        large = batch.new_runs or batch.blobs or batch.templates or batch.logs
        if mood == FULL or (mood == TIGHT and large):
            self._failed()
            raise StorageFull("the database has no room", retry_after=5.0)
        if mood == DOWN:
            self._failed()
            raise StorageUnavailable("the database does not answer", retry_after=1.0)

    def after(self, batch: WriteBatch, generation: int) -> None:
        """Note what was committed, and fail all the same if that is to happen."""
        if generation < self.generation:
            self._world.note("late_commit", who="server", value=(generation, self.generation))
        self._note(batch, generation)
        if self.commits == self.crash_after:
            raise NodeKilled
        if self.mood == AMBIGUOUS:
            self._failed()
            raise StorageUnavailable("the answer to COMMIT was lost", retry_after=1.0)

    def fail_if_down(self) -> None:
        if self.mood == DOWN:
            raise StorageUnavailable("the database does not answer", retry_after=1.0)

    def _failed(self) -> None:
        self._world.note("commit_failed", who="server")

    def _note(self, batch: WriteBatch, generation: int) -> None:
        if (generation, batch.number) in self._seen:
            return
        self._seen.add((generation, batch.number))
        at, add, runs = self._world.loop.time(), self._world.history.events.append, self._runs
        for row in batch.new_runs:
            seq, run_id = row[0], row[1]
            runs[seq] = run_id.hex()  # type: ignore[index, attr-defined]
            caller, session = row[_CALLER] or b"", row[_SESSION] or b""
            add(Event(at, "inserted", run_id.hex(), 0, "", (caller.hex(), session.hex())))  # type: ignore[attr-defined]
        for _, _, session_id, _, entries in batch.dispatches:
            values = memoryview(entries).cast("Q")  # type: ignore[call-overload]
            for place in range(0, len(values), 2):
                run = runs.get(values[place], "")
                add(Event(at, "dispatched", run, values[place + 1], session_id.hex()))  # type: ignore[attr-defined]
        for row in batch.events:
            seq, _, state, reason, attempt, infra, epoch, *_ = row
            add(Event(at, "event", runs.get(seq, ""), epoch, "", (state, reason, attempt, infra)))  # type: ignore[call-overload, arg-type]
        self.note_logs(batch.logs)
        for row in batch.ended:
            end = EndedRow._make(row)  # by name: it gains columns
            value = end.state, end.reason, end.attempt, end.infra_retries, result_of(end.result, end.outcome)
            add(Event(at, "recorded", runs.get(end.seq, ""), end.epoch, "", value))

    def note_logs(self, rows: Sequence[Sequence[Any]]) -> None:
        """Note log records that are stored now."""
        at, add, runs = self._world.loop.time(), self._world.history.events.append, self._runs
        for row in rows:
            if row[-1] in self._logged:
                continue
            self._logged.add(row[-1])
            kind = "said" if row[_LOGGER] in OWN_LOGGERS else "log_recorded"
            add(Event(at, kind, runs.get(row[0], ""), value=row[_MESSAGE]))

    def fail_for_logs(self) -> None:
        """Fail, if log records are not to be stored now."""
        if self.mood in (FULL, TIGHT):
            raise StorageFull("the log store has no room", retry_after=5.0)
        self.fail_if_down()


class WatchedLogs:
    """The log store of one owner."""

    def __init__(self, database: Database, store: "WatchedStore", logs: Any) -> None:
        self._database = database
        self._store = store
        self._logs = logs

    def __getattr__(self, name: str) -> Any:
        return getattr(self._logs, name)

    def append(self, rows: Sequence[LogRow], marks: Mapping[bytes, int], now_us: int) -> None:
        self._store.fail_if_cut_off()
        self._database.fail_for_logs()
        if self._store.generation < self._database.generation:
            raise NotOwner("another owner has the database")
        self._logs.append(rows, marks, now_us)
        self._database.note_logs(rows)
        if self._database.mood == AMBIGUOUS:
            raise StorageUnavailable("the answer was lost", retry_after=1.0)


class WatchedReader:
    """The reader of one server, made when something is to be read."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reader: Any = None

    def __getattr__(self, name: str) -> Any:
        self._database.fail_if_down()
        if self._reader is None:
            self._reader = create_reader(f"sqlite://?name={self._database.name}")
            self._reader._engine._compiled_cache = _compiled
        return getattr(self._reader, name)

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()


class WatchedStore:
    """A store of one owner."""

    def __init__(self, database: Database, store: Any) -> None:
        self._database = database
        self._store = store
        self.logs = WatchedLogs(database, self, store.logs)
        self.generation = 0
        self.cut_off = False
        """Whether this owner alone cannot reach the database."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def open(self) -> Any:
        self._fail_if_down()
        owned = self._store.open()
        self.generation = self._database.generation = owned.generation
        return owned

    def commit(self, batch: WriteBatch) -> Any:
        self.fail_if_cut_off()
        self._database.before(batch)
        result = self._store.commit(batch)
        self._database.after(batch, self.generation)
        return result

    def runs_by_id(self, run_ids: Any) -> Any:
        self._fail_if_down()
        return self._store.runs_by_id(run_ids)

    def backlog_page(self, *args: Any) -> Any:
        self._fail_if_down()
        return self._store.backlog_page(*args)

    def backlog_of_session(self, *args: Any) -> Any:
        self._fail_if_down()
        return self._store.backlog_of_session(*args)

    def backlog_of_flow(self, *args: Any) -> Any:
        self._fail_if_down()
        return self._store.backlog_of_flow(*args)

    def maintain(self) -> None:
        """Do the upkeep, and find out whether somebody has taken over, as renewing a lease does."""
        self._fail_if_down()
        with self._store._connected() as connection:
            check_generation(connection, self.generation)
        self._store.maintain()

    def give_way(self) -> None:
        """Let another owner have the database while this one goes on: only generations keep them apart."""
        self._store._lock.release()

    def heads_by_seq(self, seqs: Any) -> Any:
        self._fail_if_down()
        return self._store.heads_by_seq(seqs)

    def _fail_if_down(self) -> None:
        self.fail_if_cut_off()
        self._database.fail_if_down()

    def fail_if_cut_off(self) -> None:
        if self.cut_off:
            raise StorageUnavailable("the database cannot be reached from here", retry_after=1.0)

    def lose(self) -> None:
        """End its connection and its lock as the kernel does for a killed process."""
        self._store.logs.close()
        self._store.close()
