"""A key function of one's own that always returns the same key: the task runs once, over all flow runs.

Prints:
    an expensive operation
    [42, 42, 42]
    [42, 42, 42]
    [42, 42, 42]
"""

from taskyard import flow, task


def constant_key(context, parameters):
    return "the one and only key"


@task(cache_key_fn=constant_key)
def expensive():
    print("an expensive operation")
    return 42


@flow
def main():
    return [expensive(), expensive(), expensive()]


for _ in range(3):
    print(main())
