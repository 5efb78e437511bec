"""`map` makes a run for each element; the results are in their order.

Prints:
    2
    3
    4
    [2, 3, 4]
    11
"""

from taskyard import flow, task


@task
def add_one(x):
    return x + 1


@flow
def main():
    futures = add_one.map([1, 2, 3])
    futures.wait()
    for x in futures.result():
        print(x)
    print([state.result() for state in add_one.map([1, 2, 3], return_state=True)])
    print(add_one(10))


main()
