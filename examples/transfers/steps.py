"""The steps of a transfer, and how each is undone."""

from dataclasses import dataclass
from pathlib import Path

import books
from taskyard import Transaction, task

CLOSED = "closed"
"""An account that takes no money."""


@dataclass(frozen=True)
class Transfer:
    """So many cents from one account to another one."""

    id: str
    giver: str
    taker: str
    cents: int


class Refused(Exception):
    """The bank of the taker does not want the money."""


def receipt_of(transfer: Transfer, folder: Path) -> Path:
    """Return where the receipt of a transfer is."""
    return folder / "receipts" / f"{transfer.id}.txt"


@task
def take(transfer: Transfer, folder: Path) -> None:
    """Take the money from the giver."""
    books.enter(folder, transfer.id, transfer.giver, -transfer.cents)


@take.on_rollback
def give_back(txn: Transaction) -> None:
    """Give it back."""
    transfer: Transfer = txn.get("transfer")
    books.remove(txn.get("folder"), transfer.id, transfer.giver)


@task
def write_receipt(transfer: Transfer, folder: Path) -> None:
    """Write a receipt for the giver."""
    receipt_of(transfer, folder).write_text(f"{transfer.cents / 100:.2f} for {transfer.taker}\n")


@write_receipt.on_rollback
def tear_up(txn: Transaction) -> None:
    """Remove the receipt."""
    receipt_of(txn.get("transfer"), txn.get("folder")).unlink()


@task
def hand_over(transfer: Transfer, folder: Path) -> None:
    """Hand the money over to the taker.

    Raises:
        Refused: Their bank does not want it.
    """
    if transfer.taker == CLOSED:
        raise Refused(f"{transfer.id}: this account is closed")
    books.enter(folder, transfer.id, transfer.taker, transfer.cents)
