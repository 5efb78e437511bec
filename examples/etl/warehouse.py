"""The database: orders, and the rows that were rejected."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from models import Page

TABLES = """
create table if not exists orders (
    id integer primary key, page integer not null,
    customer text not null, day text not null, cents integer not null
);
create index if not exists orders_of_page on orders (page);
create table if not exists rejected (
    page integer, line integer, reason text not null, content text not null, primary key (page, line)
);
"""


@contextmanager
def changes(database: Path) -> Iterator[sqlite3.Connection]:
    """Open a database; what is done to it is committed together, or not at all."""
    # Other workers write as well: each waits for its turn.
    with (
        closing(sqlite3.connect(database, timeout=60, isolation_level="IMMEDIATE")) as connection,
        connection,
    ):
        yield connection


def create(database: Path) -> None:
    """Create what is not there yet."""
    with changes(database) as connection:
        connection.execute("pragma journal_mode = wal")
        connection.executescript(TABLES)


def replace_page(database: Path, number: int, page: Page) -> None:
    """Write a page in the place of what was known of it."""
    orders = [(one.id, number, one.customer, one.day.isoformat(), one.cents) for one in page.orders]
    rejected = [(number, one.line, one.reason, json.dumps(one.row)) for one in page.rejected]
    with changes(database) as connection:
        connection.execute("delete from orders where page = ?", (number,))
        connection.execute("delete from rejected where page = ?", (number,))
        connection.executemany("insert or replace into orders values (?, ?, ?, ?, ?)", orders)
        connection.executemany("insert into rejected values (?, ?, ?, ?)", rejected)


def summary(database: Path) -> tuple[int, int, list[tuple[str, int]]]:
    """Return the number of orders, what they are worth in cents, and why rows were rejected."""
    with changes(database) as connection:
        orders, cents = connection.execute("select count(*), coalesce(sum(cents), 0) from orders").fetchone()
        reasons = connection.execute("select reason, count(*) from rejected group by 1 order by 2 desc, 1")
        return orders, cents, reasons.fetchall()
