"""A flow that returns the futures of a map returns their last states, which have the values.

Prints:
    Completed() 2
    Completed() 3
    Completed() 4
"""

from taskyard import flow, task


@task
def add_one(x):
    return x + 1


@flow
def main():
    return add_one.map([1, 2, 3])


for state in main():
    print(state, state.result())
