"""Hooks find what was set in the transaction; what committed stays.

Prints:
    removing first.txt
    Not enough data!
    committing second.txt
    True
"""

import os
import tempfile

from taskyard import flow, task
from taskyard.transactions import transaction


@task
def write_file(filename: str, contents: str):
    with open(filename, "w") as f:
        f.write(contents)


@write_file.on_rollback
def del_file(txn):
    print("removing", txn.get("filename"))
    os.unlink(txn.get("filename"))


@write_file.on_commit
def confirmation(txn):
    print("committing", txn.get("filename"))


@task
def quality_test(filename):
    with open(filename) as f:
        data = f.readlines()

    if len(data) < 2:
        raise ValueError("Not enough data!")


@flow
def pipeline(filename: str, contents: str):
    with transaction() as txn:
        txn.set("filename", filename)
        write_file(filename, contents)
        quality_test(filename)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        try:
            pipeline("first.txt", "hello world")
        except ValueError as error:
            print(error)
        pipeline("second.txt", "hello\nworld")
        print(os.path.exists("second.txt"))
        os.unlink("second.txt")
