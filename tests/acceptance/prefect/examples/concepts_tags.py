"""Tags of a task and tags around its call add up.

Prints:
    ['test']
    ['nightly', 'test']
    ['nightly']
"""

from taskyard import flow, tags, task
from taskyard.runtime import task_run


@task(name="tagged", tags=["test"])
def tagged():
    print(sorted(task_run.tags))


@task
def plain():
    print(sorted(task_run.tags))


@flow
def main():
    tagged()
    with tags("nightly"):
        tagged()
        plain()


main()
