"""All runs of a map wait for another task.

Prints:
    one
    two 1
    two 2
    two 3

In any order: after the first line
"""

from taskyard import flow, task


@task
def one():
    print("one")


@task
def two(y):
    # As one text: in threads `print` may be interrupted by others between two of its arguments.
    print(f"two {y}\n", end="")


@flow
def main():
    x = one.submit()
    return two.map([1, 2, 3], wait_for=[x])


main()
