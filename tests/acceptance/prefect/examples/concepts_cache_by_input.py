"""A task with `task_input_hash` runs once for each input, until the entry expires.

Prints:
    Saying hello to Ann
    hello Ann
    hello Ann
    Saying hello to Ben
    hello Ben
"""

from datetime import timedelta

from taskyard import flow, task
from taskyard.tasks import task_input_hash


@task(cache_key_fn=task_input_hash, cache_expiration=timedelta(days=1))
def greet(name):
    print("Saying hello to", name)
    return "hello " + name


@flow
def main(name):
    print(greet(name))


main("Ann")
main("Ann")
main("Ben")
