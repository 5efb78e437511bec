"""A flow of a few runs of which some need others, and one fails; ends with 7 for that."""

import sys

from taskyard import flow, task


@task(retries=1)
def divide(x: int, y: int) -> float:
    return x / y


@task
def total(*parts: float) -> float:
    return sum(parts)


@flow(name="simple")
def simple() -> float:
    good = divide.submit(6, 2)
    bad = divide.submit(6, 0)
    never = total.submit(good, bad)
    print(total.submit(good, *divide.map([1, 2], 1)).result(), never.wait().name, flush=True)
    return bad.result()


try:
    simple()
except ZeroDivisionError:
    sys.exit(7)
