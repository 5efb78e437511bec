"""The books: an entry for each step of each transfer, so that a step is made once, and can be taken back."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

TABLES = """
create table if not exists accounts (name text primary key, opened_with integer not null);
create table if not exists entries (
    transfer text, account text references accounts, cents integer not null, primary key (transfer, account)
);
"""
BALANCES = """
select name, opened_with + coalesce(sum(cents), 0)
from accounts left join entries on account = name group by name order by name
"""


@contextmanager
def changes(folder: Path) -> Iterator[sqlite3.Connection]:
    """Open the books of a folder; what is done to them is committed together, or not at all."""
    connection = sqlite3.connect(folder / "books.db", timeout=60, isolation_level="IMMEDIATE")
    with closing(connection), connection:
        connection.execute("pragma foreign_keys = on")
        yield connection


def open_accounts(folder: Path, accounts: Mapping[str, int]) -> None:
    """Open the accounts that are not there yet, with so many cents."""
    (folder / "receipts").mkdir(parents=True, exist_ok=True)
    with changes(folder) as connection:
        connection.executescript(TABLES)
        connection.executemany("insert or ignore into accounts values (?, ?)", accounts.items())


def enter(folder: Path, transfer: str, account: str, cents: int) -> None:
    """Enter a step of a transfer; nothing changes if it is there."""
    with changes(folder) as connection:
        connection.execute("insert or ignore into entries values (?, ?, ?)", (transfer, account, cents))


def remove(folder: Path, transfer: str, account: str | None = None) -> None:
    """Remove the step of a transfer that concerns an account, or all of its steps."""
    with changes(folder) as connection:
        connection.execute(
            "delete from entries where transfer = ? and account = coalesce(?, account)", (transfer, account)
        )


def balances(folder: Path) -> dict[str, int]:
    """Return what is in each account, in cents."""
    with changes(folder) as connection:
        return dict(connection.execute(BALANCES).fetchall())
