"""`with_options` makes another task and leaves the first one as it is.

Prints:
    My new task 1
    My task 1
"""

from taskyard import flow, task
from taskyard.runtime import task_run


@task(name="My task")
def one():
    return task_run.task_name, 1


@flow
def main():
    renamed = one.with_options(name="My new task")
    print(*renamed())
    print(*one())


main()
