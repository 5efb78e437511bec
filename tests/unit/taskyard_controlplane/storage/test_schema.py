"""Rules the tables follow."""

import re
import sqlite3
from contextlib import closing

from sqlalchemy import CheckConstraint, create_mock_engine

from taskyard_contract.states import RunState
from taskyard_controlplane.storage.interface import EndedRow, NewRunRow, StoredRun
from taskyard_controlplane.storage.schema import metadata, run


def test_no_index_covers_a_column_that_changes() -> None:
    changing = {name for name in EndedRow._fields if name != "seq"}
    for index in run.indexes:
        assert not changing & {column.name for column in index.columns}
        for dialect in index.dialect_options.values():
            assert not changing & set(re.findall(r"\w+", str(dialect.get("where"))))


def test_a_run_is_what_is_submitted_and_what_ends() -> None:
    assert set(NewRunRow._fields) | set(EndedRow._fields) == set(StoredRun._fields) == set(run.c.keys())


def test_the_database_accepts_exactly_the_states_there_are() -> None:
    [check] = [one for one in run.constraints if isinstance(one, CheckConstraint)]
    with closing(sqlite3.connect(":memory:")) as connection:
        query = f"SELECT state FROM (SELECT ? AS state) WHERE {check.sqltext}"
        accepted = [state for state in range(-1, 200) if connection.execute(query, (state,)).fetchone()]
    assert accepted == sorted(int(state) for state in RunState)


def test_every_constraint_has_a_name() -> None:
    statements: list[str] = []
    engine = create_mock_engine("sqlite://", lambda sql, *_: statements.append(str(sql.compile(engine))))
    metadata.create_all(engine, checkfirst=False)
    for statement in statements:
        for line in statement.splitlines():
            if line.strip().startswith(("PRIMARY KEY", "UNIQUE", "CHECK")):
                raise AssertionError(f"no name: {line.strip()}")
    assert len(statements) == len(metadata.tables) + sum(
        len(table.indexes) for table in metadata.tables.values()
    )
