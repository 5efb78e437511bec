"""What is no iterable, a text included, is the same for all runs of a map.

Prints:
    Look: 1
    Look: 2
    Look: 3

In any order: all
"""

from taskyard import flow, task


@task
def display(prefix, item):
    # As one text: in threads `print` may be interrupted by others between two of its arguments.
    print(f"{prefix} {item}\n", end="")


@flow
def main():
    return display.map("Look:", [1, 2, 3])


main()
