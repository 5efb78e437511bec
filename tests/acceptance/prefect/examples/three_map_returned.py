"""A flow that returns the futures of a map returns their values.

Prints:
    [2, 3, 4]
"""

from taskyard import flow, task


@task
def add_one(x):
    return x + 1


@flow
def main():
    return add_one.map([1, 2, 3])


print([value.result() if hasattr(value, "result") else value for value in main()])
