"""A task waits for another one whose value it does not need.

Prints:
    one
    two
"""

from taskyard import flow, task


@task
def one():
    print("one")


@task
def two():
    print("two")


@flow
def main():
    x = one.submit()
    two.submit(wait_for=[x]).wait()


main()
