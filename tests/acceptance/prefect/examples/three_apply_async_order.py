"""`apply_async` waits for others. What such runs print is for whoever executes them, so they write instead.

Prints:
    ['one', 'two']
"""

from pathlib import Path
from tempfile import NamedTemporaryFile

from taskyard import flow, task


@task
def one(path):
    with open(path, "a") as journal:
        journal.write("one\n")


@task
def two(path):
    with open(path, "a") as journal:
        journal.write("two\n")


@flow
def main(path):
    x = one.apply_async((path,))
    y = two.apply_async((path,), wait_for=[x])
    y.wait()


with NamedTemporaryFile() as journal:
    main(journal.name)
    print(Path(journal.name).read_text().split())
