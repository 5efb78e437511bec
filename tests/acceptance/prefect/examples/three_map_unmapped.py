"""`unmapped` gives a whole list to each run.

Prints:
    [[11, 21], [12, 22], [13, 23]]
"""

from taskyard import flow, task, unmapped


@task
def add_to_all(items, n):
    return [item + n for item in items]


@flow
def main():
    return add_to_all.map(unmapped([10, 20]), n=[1, 2, 3]).result()


print(main())
