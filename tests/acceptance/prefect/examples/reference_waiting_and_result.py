"""A flow waits for a task and uses its result.

Prints:
    hello
    hello
"""

from taskyard import flow, task


@task
def hello():
    return "hello"


@flow
def main():
    print(hello.submit().wait().result())
    print(hello())


main()
