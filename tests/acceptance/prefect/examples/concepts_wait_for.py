"""Tasks that exchange no data are put in order by `wait_for`.

Prints:
    ['a', 'b', 'c', 'd']
"""

from pathlib import Path
from tempfile import NamedTemporaryFile

from taskyard import flow, task


@task
def write(name, path):
    with open(path, "a") as journal:
        journal.write(name)


@flow
def main(path):
    a = write.submit("a", path)
    b = write.submit("b", path, wait_for=[a])
    c = write.submit("c", path, wait_for=[a, b])
    d = write.submit("d", path, wait_for=[c])
    d.wait()


with NamedTemporaryFile() as journal:
    main(journal.name)
    print(list(Path(journal.name).read_text()))
