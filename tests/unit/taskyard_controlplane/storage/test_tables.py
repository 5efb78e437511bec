"""What is declared about rows, the tables, the batch and the statements of both databases say the same."""

from typing import get_type_hints

import pytest
from sqlalchemy import UniqueConstraint

from taskyard_controlplane.storage.interface import WriteBatch
from taskyard_controlplane.storage.interface.tables import LISTS, WRITES, Rule, Write
from taskyard_controlplane.storage.postgres import writer as postgres_writer
from taskyard_controlplane.storage.schema import metadata, run
from taskyard_controlplane.storage.sqlite import writer as sqlite_writer

NO_INSERTIONS = (
    Rule.CHANGE_OPEN, Rule.CHANGE_ENDED, Rule.REMOVE, Rule.REMOVE_SAME, Rule.REMOVE_UP_TO,
)  # fmt: skip
INSERTIONS = [write for write in WRITES if write.rule not in NO_INSERTIONS]
of_each_kind = pytest.mark.parametrize("write", WRITES, ids=LISTS)
of_each_insertion = pytest.mark.parametrize(
    "write", INSERTIONS, ids=[write.batch_list for write in INSERTIONS]
)


@of_each_kind
def test_a_row_holds_columns_of_its_table(write: Write) -> None:
    assert set(write.columns) <= set(metadata.tables[write.table].c.keys())
    assert set(write.rarely_set) <= set(write.columns)
    assert bool(write.copied) == (write.rule is Rule.COPY_BAD_END)
    assert set(write.copied) <= set(metadata.tables[write.table].c.keys()) & set(run.c.keys())


@of_each_insertion
def test_a_row_holds_all_that_a_table_asks_for(write: Write) -> None:
    for column in metadata.tables[write.table].c:
        made_by_itself = column.server_default is not None or column.autoincrement is True
        assert column.name in write.columns + write.copied or column.nullable or made_by_itself


@of_each_kind
def test_a_key_decides_about_one_row(write: Write) -> None:
    table = metadata.tables[write.table]
    if not write.key:
        assert write.rule in (Rule.APPEND, Rule.ADD, Rule.REMOVE_UP_TO, Rule.REMOVE_SAME)
        return
    if write.rule is Rule.COPY_BAD_END:
        assert write.key in table.primary_key.columns, "a run is in one state for good"
        return
    unique = [list(one.columns) for one in table.constraints if isinstance(one, UniqueConstraint)]
    assert [table.c[write.key]] in [list(table.primary_key), *unique]
    if write.rule in (Rule.CHANGE_OPEN, Rule.CHANGE_ENDED):
        assert write.columns[-1] == write.key


@of_each_insertion
def test_what_is_rarely_set_may_be_left_out(write: Write) -> None:
    assert all(metadata.tables[write.table].c[name].nullable for name in write.rarely_set)


def test_a_batch_has_a_list_of_rows_for_each_kind() -> None:
    hints = get_type_hints(WriteBatch)
    assert set(LISTS) == set(hints)
    batch = WriteBatch(1)
    assert batch.lists() == tuple([] for _ in WRITES)
    assert batch.rows() == 0
    for count, name in enumerate([*LISTS, "blobs", "lookup_runs", "lookup_keys"], 1):
        getattr(batch, name).append(())
        assert batch.rows() == count


@of_each_kind
def test_both_databases_can_write_each_kind(write: Write) -> None:
    assert sqlite_writer.statement_of(write)
    assert postgres_writer.statement_of(write)
