"""What listings read does not grow with the table, however the database plans them."""

from collections.abc import Callable
from typing import Any

import pytest
from support.databases import Database
from support.storage_rows import NOW_US, Batches, ended, new_run, run_id, template

from taskyard_contract.states import RunKind, RunState
from taskyard_controlplane.storage.base import BaseStore
from taskyard_controlplane.storage.interface import RunFilter

S = RunState
RUNS = 1_000
LISTINGS: list[dict[str, Any]] = [
    {},
    {"states": (S.FAILED,)},
    {"states": (S.CRASHED,)},
    {"states": (S.FAILED, S.CRASHED)},
    {"states": (S.COMPLETED,)},
    {"kind": RunKind.FLOW},
    {"kind": RunKind.FLOW, "states": (S.CRASHED,)},
    {"flow_seq": 1},
    {"flow_seq": 1, "states": (S.CRASHED,)},
    {"name_contains": "nothing like it"},
    {"flow_seq": 1, "name_contains": "nothing like it"},
    {"task_name": "nothing like it"},
    {"task_name": "add"},
    {"run_ids": (run_id(3), run_id(4), bytes(16))},
    {"flow_seq": 1, "from_us": NOW_US + 500},
    {"from_us": NOW_US + 500, "name_contains": "nothing like it"},
]
COUNTED = [wanted for wanted in LISTINGS if "kind" not in wanted]
"""Without what there are more of than a count looks at only in the larger table."""
_READ = """
SELECT sum(seq_tup_read) + sum((SELECT sum(idx_tup_read) FROM pg_stat_user_indexes i WHERE i.relid = t.relid))
FROM pg_stat_user_tables t WHERE relname IN ('run', 'ended_badly')
"""


@pytest.mark.parametrize("analyzed", [False, True])
def test_what_a_listing_reads_does_not_grow_with_the_table(
    database: Database, store: BaseStore, batch: Batches, connections: list[Any], analyzed: bool
) -> None:
    """What is rare lies far back, behind flow runs as large as the one that is asked for."""
    store.commit(batch(templates=[template(1, "add")]))
    reader = database.reader()
    reader.run(b"")  # connects
    driver = connections[-1]
    cost = _rows_of_postgresql if store.dialect == "postgresql" else _steps_of_sqlite

    def costs() -> list[int]:
        if analyzed:
            with store._connected() as connection:
                connection.exec_driver_sql("ANALYZE")
        listings = [
            cost(
                driver,
                lambda wanted=wanted, order=order: reader.runs(
                    RunFilter(**wanted), None, 2, 1_000, oldest_first=order
                ),
            )
            for wanted in LISTINGS
            for order in (False, True)
        ]
        counts = [
            cost(driver, lambda wanted=wanted: reader.ended_counts(RunFilter(**wanted), 50))
            for wanted in COUNTED
        ]
        still_open = [
            cost(driver, lambda wanted=wanted: reader.open_runs(RunFilter(**wanted), None, 2, 50))
            for wanted in COUNTED
        ]
        return listings + counts + still_open

    _grow(store, batch, S.CRASHED, 1)
    _grow(store, batch, S.FAILED, RUNS + 1)
    few = costs()
    for times in (2, 3, 4, 5):
        _grow(store, batch, S.FAILED, times * RUNS + 1)
    many = costs()
    asked = [wanted for wanted in LISTINGS for _ in range(2)] + COUNTED * 2
    for wanted, before, after in zip(asked, few, many, strict=True):
        assert after <= before * 1.3 + 20, wanted


def _grow(store: BaseStore, batch: Batches, end: RunState, flow: int) -> None:
    """Add a flow run with all the others inside it, of which one in fifty ends badly."""
    seqs = range(flow, flow + RUNS)
    ends = [ended(seq, state=end if seq % 50 == 1 else S.COMPLETED) for seq in seqs]
    new = [new_run(flow, kind=RunKind.FLOW), *(new_run(seq, flow_seq=flow) for seq in seqs[1:])]
    store.commit(batch(new_runs=new, ended=ends, ended_badly=[(row.seq,) for row in ends]))


def _steps_of_sqlite(driver: Any, read: Callable[[], object]) -> int:
    """Count the steps of the machine that executes SQLite's statements."""
    counted = [0]

    def count() -> None:
        counted[0] += 1

    driver.set_progress_handler(count, 1)
    try:
        read()
    finally:
        driver.set_progress_handler(None, 1)
    return counted[0]


def _rows_of_postgresql(driver: Any, read: Callable[[], object]) -> int:
    """Count the rows and entries of indexes that are gone through."""
    driver.execute("SET enable_seqscan = off")  # small tables are read whole because they are small
    before = _read_so_far(driver)
    read()
    return _read_so_far(driver) - before


def _read_so_far(driver: Any) -> int:
    driver.execute("SELECT pg_stat_force_next_flush()")
    return int(driver.execute(_READ).fetchone()[0])
