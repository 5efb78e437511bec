"""The key of a task is made of name, function and tags; those of a call do not count.

Prints:
    True True False False
"""

from taskyard import task


def one():
    return 1


first = task(name="x", tags=["b", "a"])(one)
again = task(name="x", tags=["a", "b"])(one)
print(
    first.task_key == again.task_key,
    first.isasync is False,
    first.task_key == first.with_options(name="y").task_key,
    first.task_key == first.with_options(tags=["c"]).task_key,
)
