"""A file that was written is removed when a check of it fails, by the hook of the task that wrote it.

Prints:
    there True
    Not enough data!
    there False

Logs:
    Running rollback hook 'del_file'
"""

import os
import tempfile

from taskyard import flow, task
from taskyard.transactions import transaction


@task
def write_file(contents: str):
    "Writes to a file."
    with open("side-effect.txt", "w") as f:
        f.write(contents)


@write_file.on_rollback
def del_file(transaction):
    "Deletes file."
    os.unlink("side-effect.txt")


@task
def quality_test():
    "Checks contents of file."
    with open("side-effect.txt") as f:
        data = f.readlines()

    if len(data) < 2:
        raise ValueError("Not enough data!")


@flow
def pipeline(contents: str):
    with transaction():
        write_file(contents)
        print("there", os.path.exists("side-effect.txt"))
        quality_test()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        try:
            pipeline(contents="hello world")
        except ValueError as error:
            print(error)
        print("there", os.path.exists("side-effect.txt"))
