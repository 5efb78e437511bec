"""How many rows are cut into statements."""

from types import SimpleNamespace
from typing import Any, Final

import pytest

from taskyard_controlplane.storage.sqlite.statements import RowsStatement

INSERT: Final = "INSERT INTO t (a, b) VALUES {rows} ON CONFLICT DO NOTHING"


class Recorder:
    """A driver's connection that notes what it is asked to execute."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def execute(self, sql: str, values: tuple[Any, ...]) -> SimpleNamespace:
        self.calls.append((sql, values))
        return SimpleNamespace(rowcount=len(values) // 2)


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(1, [1]), (3, [2, 1]), (127, [64, 32, 16, 8, 4, 2, 1]), (128, [128]), (300, [128, 128, 32, 8, 4])],
)
def test_rows_are_cut_into_powers_of_two_in_order(count: int, sizes: list[int]) -> None:
    connection = Recorder()
    rows = [(number, -number) for number in range(count)]
    assert RowsStatement(INSERT, 2).run(connection, rows) == count
    assert [len(values) // 2 for _, values in connection.calls] == sizes
    assert [value for _, values in connection.calls for value in values] == [v for row in rows for v in row]


def test_the_texts_name_every_row() -> None:
    connection = Recorder()
    RowsStatement(INSERT, 2).run(connection, [(1, 2), (3, 4)])
    assert connection.calls == [
        ("INSERT INTO t (a, b) VALUES (?, ?), (?, ?) ON CONFLICT DO NOTHING", (1, 2, 3, 4))
    ]


def test_one_row_may_have_a_text_of_its_own() -> None:
    connection = Recorder()
    statement = RowsStatement("UPDATE t FROM {rows}", 2, "UPDATE t ONE")
    statement.run(connection, [(1, 2), (3, 4), (5, 6)])
    assert [sql for sql, _ in connection.calls] == ["UPDATE t FROM (?, ?), (?, ?)", "UPDATE t ONE"]
