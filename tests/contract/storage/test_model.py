"""SQLite and PostgreSQL in lockstep with a model of dictionaries, through random histories."""

from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import text
from support.depth import examples
from support.storage_rows import (
    NOW_US,
    TEMPLATE_ID,
    Batches,
    bad_ends,
    bad_ends_of,
    ended,
    event,
    new_run,
    run_id,
    template,
)

from taskyard_contract.states import FIRST_FINAL, RunState
from taskyard_controlplane.storage import create_reader, create_store
from taskyard_controlplane.storage.engine import parse_url, writer_engine
from taskyard_controlplane.storage.interface import CommitResult, Ownership, RunFilter, Store
from taskyard_controlplane.storage.schema import metadata

_NUMBERS = st.integers(1, 400)
_COUNTS = st.sampled_from([1, 1, 2, 5, 70, 140])
_FINAL = st.sampled_from([state for state in RunState if state >= FIRST_FINAL])


class Model:
    """What a store must remember, said as simply as possible."""

    def __init__(self) -> None:
        self.runs: dict[bytes, dict[str, Any]] = {}
        self.by_seq: dict[int, dict[str, Any]] = {}
        self.events: list[Any] = []
        self.cache: dict[str, tuple[int, int | None]] = {}
        self.backlog: set[tuple[str, int, int]] = set()
        self.next_seq = 1

    def submit(self, rows: list[Any]) -> list[bytes]:
        duplicates = []
        for row in rows:
            if row.run_id in self.runs:
                duplicates.append(row.run_id)
            else:
                self.runs[row.run_id] = self.by_seq[row.seq] = row._asdict()
        return list(dict.fromkeys(duplicates))

    def end(self, rows: list[Any]) -> None:
        for row in rows:
            run = self.by_seq.get(row.seq)
            if run is not None and run["state"] < FIRST_FINAL:
                run.update(row._asdict())

    def cached(self, keys: list[str], now_us: int) -> dict[str, int]:
        return {
            key: seq
            for key in keys
            for seq, expires in [self.cache.get(key, (0, 0))]
            if seq in self.by_seq
            and self.by_seq[seq]["state"] == RunState.COMPLETED
            and (expires is None or expires > now_us)
        }


class StoresAgainstModel(RuleBasedStateMachine):
    """Every rule is one batch, committed to both stores and applied to the model."""

    def __init__(self, urls: list[str]) -> None:
        super().__init__()
        self.urls = urls
        self.model = Model()
        self.batch = Batches()
        for url in urls:
            _empty(url)
        self.stores: list[Store] = [create_store(url) for url in urls]
        self.owned = [store.open() for store in self.stores]
        self._commit(templates=[template()])

    def teardown(self) -> None:
        for store in self.stores:
            store.close()

    def _commit(self, *, repeat: bool = False, **parts: Any) -> list[CommitResult]:
        batch = self.batch(**parts)
        if repeat:
            for store in self.stores:
                store.commit(batch)
            batch.repeated = True
        return [store.commit(batch) for store in self.stores]

    @rule(numbers=st.lists(_NUMBERS, min_size=1, max_size=5), count=_COUNTS, repeat=st.booleans())
    def submit(self, numbers: list[int], count: int, repeat: bool) -> None:
        start = self.model.next_seq
        ids = [*numbers, *(1000 + start + index for index in range(count - 1))]
        rows = [new_run(start + place, run_id=run_id(number)) for place, number in enumerate(ids)]
        self.model.next_seq += len(rows)
        duplicates = self.model.submit(rows)
        for result in self._commit(new_runs=rows, repeat=repeat):
            assert result.duplicates == duplicates

    @rule(first=_NUMBERS, count=_COUNTS, state=_FINAL, result=st.binary(max_size=3), repeat=st.booleans())
    def end(self, first: int, count: int, state: RunState, result: bytes, repeat: bool) -> None:
        rows = [ended(seq, state=state, result=result) for seq in range(first, first + count)]
        self.model.end(rows)
        # All of them, also those that completed, ended before in another state, or do not exist.
        self._commit(ended=rows, ended_badly=[(row.seq,) for row in rows], repeat=repeat)

    @rule(seqs=st.lists(_NUMBERS, max_size=3), message=st.text(max_size=5), repeat=st.booleans())
    def note_events(self, seqs: list[int], message: str, repeat: bool) -> None:
        rows = [event(seq, message=message.replace("\0", "")) for seq in seqs]
        self.model.events += rows
        self._commit(events=rows, repeat=repeat)

    @rule(
        entries=st.lists(
            st.tuples(st.sampled_from("abc"), _NUMBERS, st.sampled_from([None, NOW_US, NOW_US + 1])),
            min_size=1,
            max_size=4,
        )
    )
    def fill_cache(self, entries: list[tuple[str, int, int | None]]) -> None:
        self.model.cache.update({key: (seq, expires) for key, seq, expires in entries})
        self._commit(cache=entries)

    @rule(key=st.sampled_from("abcd"))
    def remove_from_cache(self, key: str) -> None:
        there = self.model.cache.pop(key, None)
        assert [store.cache.remove(key) for store in self.stores] == [there is not None] * len(self.stores)

    @rule(after=st.sampled_from(["", *"abc"]), limit=st.integers(1, 4))
    def clear_part_of_cache(self, after: str, limit: int) -> None:
        looked_at = sorted(key for key in self.model.cache if key > after)[:limit]
        for key in looked_at:
            del self.model.cache[key]
        for store in self.stores:
            part = store.cache.remove_part(after, None, limit)
            assert part == (len(looked_at), looked_at[-1] if len(looked_at) == limit else None)

    @rule(keys=st.sets(st.sampled_from("abcd")), numbers=st.sets(_NUMBERS, max_size=3))
    def look_up(self, keys: set[str], numbers: set[int]) -> None:
        ids = [run_id(number) for number in numbers]
        for result in self._commit(lookup_keys=sorted(keys), lookup_runs=ids):
            found = {entry.cache_key: entry.run_seq for entry in result.cached}
            assert found == self.model.cached(sorted(keys), NOW_US)
            states = {row.run_id: row.state for row in result.runs}
            assert states == {one: self.model.runs[one]["state"] for one in ids if one in self.model.runs}

    @rule(seqs=st.sets(_NUMBERS, min_size=1), queue=st.sampled_from("xy"), priority=st.integers(-1, 1))
    def queue_up(self, seqs: set[int], queue: str, priority: int) -> None:
        waiting = {seq for _, _, seq in self.model.backlog}
        rows = [(queue, priority, seq) for seq in sorted(seqs - waiting)]
        self.model.backlog.update(rows)
        self._commit(backlog_added=rows)

    @rule(data=st.data())
    def leave_queue(self, data: st.DataObject) -> None:
        rows = data.draw(st.lists(st.sampled_from(sorted(self.model.backlog)))) if self.model.backlog else []
        for queue, priority, last in rows:
            self.model.backlog -= {
                row for row in self.model.backlog if row[:2] == (queue, priority) and row[2] <= last
            }
        self._commit(backlog_removed=rows)

    @rule()
    def maintain(self) -> None:
        for store in self.stores:
            store.maintain()

    @rule()
    def start_again(self) -> None:
        for place, url in enumerate(self.urls):
            with closing(create_reader(url)) as holder:  # a database in memory lives while somebody has it
                holder.blob_size(b"")
                self.stores[place].close()
                self.stores[place] = create_store(url)
                before, self.owned[place] = self.owned[place], self.stores[place].open()
            assert self.owned[place] == Ownership(
                generation=before.generation + 1,
                next_seq=max(self.model.by_seq, default=0) + 1,
                next_template_id=TEMPLATE_ID + 1,
                low_seq=1,
                next_dispatch=1,
                next_agent=1,
            )
        self.batch = Batches()

    @invariant()
    def they_agree(self) -> None:
        waiting = {seq for _, _, seq in self.model.backlog}
        is_open = {seq for seq, run in self.model.by_seq.items() if run["state"] < FIRST_FINAL}
        for store in self.stores:
            assert [row.seq for row in store.open_runs(1)] == sorted(is_open - waiting)
            assert store.events_of(range(1, 401)) == self.model.events
            assert sum(count for _, _, count in store.backlog_counts()) == len(waiting)
            for row in store.runs_by_id(list(self.model.runs)):
                expected = self.model.runs[row.run_id]
                assert {name: getattr(row, name) for name in expected} == expected

    @invariant()
    def readers_agree(self) -> None:
        expected = sorted(self.model.by_seq, reverse=True)[:50]
        ended_badly = bad_ends_of((seq, run["state"]) for seq, run in self.model.by_seq.items())
        for url in self.urls:
            with closing(create_reader(url)) as reader:
                assert [listed.run.seq for listed in reader.runs(RunFilter(), None, 50).runs] == expected
                assert bad_ends(reader, 50) == ended_badly


def _empty(url: str) -> None:
    """Make a database as good as new, which is faster than a new one."""
    target = parse_url(url)
    if target.dialect == "postgresql":
        engine = writer_engine(target)
        with engine.connect() as connection:
            names = ", ".join(metadata.tables)
            connection.execute(text(f"TRUNCATE {names} RESTART IDENTITY"))
        engine.dispose()


@pytest.fixture
def machine(sqlite_memory_url: str, postgresql_url: str) -> Callable[[], StoresAgainstModel]:
    return lambda: StoresAgainstModel([sqlite_memory_url, postgresql_url])


@pytest.mark.timeout(180)
def test_any_history_gives_what_the_model_says(machine: Callable[[], StoresAgainstModel]) -> None:
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples(15), stateful_step_count=15, deadline=None, suppress_health_check=checks
        ),
    )
