"""Calls that return futures go on together, in the order that `wait_for` and the futures among arguments say.

Prints:
    a state: True
    ab
    cd
"""

import os

os.environ["TASKYARD_TASK_CALLS"] = "future"  # for all flows of the program, as they were written then

from pathlib import Path
from tempfile import NamedTemporaryFile

from taskyard import flow, task
from taskyard.states import State


@task
def write(name, path):
    with open(path, "a") as journal:
        journal.write(name)
    return path


@flow
def my_flow(path):
    a = write("a", path)
    b = write("b", path)
    # Wait for both to complete
    c = write("c", path, wait_for=[a, b])
    # One that is given as an argument is waited for as well
    d = write("d", c)
    print("a state:", isinstance(d.get_state(), State))
    d.wait()


with NamedTemporaryFile() as journal:
    my_flow(journal.name)
    written = Path(journal.name).read_text()
    print("".join(sorted(written[:2])))
    print(written[2:])
