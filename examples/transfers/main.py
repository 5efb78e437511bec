"""Money that moves between accounts, all the way or not at all: transactions, and hooks that undo.

    python main.py                       # three transfers, one of which the other bank refuses
    python main.py --transfers 200       # more; one in three is refused
    python main.py --folder books        # where the books and the receipts are, and stay

A transfer is three tasks in a transaction: take the money, write a receipt, hand it over. When a step fails,
the hooks of those before it are called, last one first: the receipt is gone and the money is back. A transfer
that was made is not made again (`key`), nor by two programs at once (`SERIALIZABLE`). The program may be
killed at any moment: started again with the same folder it undoes what was left half done, and makes the
transfer anew.
"""

import argparse
from pathlib import Path

import books
from steps import CLOSED, Transfer, hand_over, receipt_of, take, write_receipt
from taskyard import flow, get_run_logger
from taskyard.locking.filesystem import FileSystemLockManager
from taskyard.results import ResultStore
from taskyard.transactions import IsolationLevel, transaction

NAMES = ("ada", "grace", "radia")


@flow(flow_run_name="transfer {transfer.id}")
def make(transfer: Transfer, folder: Path) -> None:
    """Make a transfer, once.

    Raises:
        Refused: The other bank does not take it; nothing has changed.
    """
    store = ResultStore(result_storage=folder / "made", lock_manager=FileSystemLockManager(folder / "locks"))
    with transaction(key=transfer.id, store=store, isolation_level=IsolationLevel.SERIALIZABLE) as txn:
        if txn.is_committed():
            get_run_logger().info("%s was made before", transfer.id)
            return
        forget(transfer, folder)  # what a program left that was killed
        txn.set("transfer", transfer)
        txn.set("folder", folder)
        take(transfer, folder)
        write_receipt(transfer, folder)
        hand_over(transfer, folder)


@flow
def make_all(transfers: list[Transfer], folder: Path) -> list[str]:
    """Make transfers one after the other; returns those that were refused."""
    states = {transfer.id: make(transfer, folder, return_state=True) for transfer in transfers}
    return [name for name, state in states.items() if state.is_failed()]


def forget(transfer: Transfer, folder: Path) -> None:
    """Undo all steps of a transfer, whichever of them were made."""
    receipt_of(transfer, folder).unlink(missing_ok=True)
    books.remove(folder, transfer.id)


def main() -> None:
    """Open the books, make transfers, and print the balances."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("books"))
    parser.add_argument("--transfers", type=int, default=3)
    chosen = parser.parse_args()

    folder = chosen.folder.absolute()
    books.open_accounts(folder, dict.fromkeys((*NAMES, CLOSED), 10000))
    transfers = [
        Transfer(
            id=f"transfer-{number}",
            giver=NAMES[number % 3],
            taker=CLOSED if number % 3 == 1 else NAMES[(number + 1) % 3],
            cents=10_00 + number,
        )
        for number in range(chosen.transfers)
    ]
    refused = make_all(transfers, folder)

    for name, cents in books.balances(folder).items():
        print(f"{name:8} {cents / 100:10.2f}")
    receipts = len(list((folder / "receipts").glob("*.txt")))
    print(f"{len(transfers) - len(refused)} transfers made, {receipts} receipts, {len(refused)} refused")


if __name__ == "__main__":
    main()
