"""A transaction with a key is done once, also when two programs come to it at the same time.

Prints:
    written
    Data file has already been written. Exiting early.
    written once
"""

import os
import tempfile
import threading
import uuid
from pathlib import Path

from taskyard import flow, task
from taskyard.locking.filesystem import FileSystemLockManager
from taskyard.results import ResultStore
from taskyard.transactions import IsolationLevel, transaction


@task
def download_data():
    return "some data\n"


@task
def write_data(data: str):
    with open("data.txt", "a") as f:
        f.write(data)


@flow
def pipeline(key: str):
    with transaction(key=key) as txn:
        if txn.is_committed():
            print("Data file has already been written. Exiting early.")
            return
        data = download_data()
        write_data(data)
        print("written")


@flow
def one_at_a_time(key: str):
    with transaction(
        key=key,
        isolation_level=IsolationLevel.SERIALIZABLE,
        store=ResultStore(lock_manager=FileSystemLockManager(lock_files_directory=Path("locks"))),
    ) as txn:
        if txn.is_committed():
            return
        write_data(download_data())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        first = f"download-and-write-data-{uuid.uuid4()}"
        pipeline(first)
        pipeline(first)
        Path("data.txt").unlink()
        second = f"race-condition-{uuid.uuid4()}"
        threads = [threading.Thread(target=one_at_a_time, args=(second,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        times = Path("data.txt").read_text().count("some data")
        print("written once" if times == 1 else f"written {times} times")
        Path("data.txt").unlink()
