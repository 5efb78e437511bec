"""A task that prints, called in a flow.

Prints:
    Hello from a task
"""

from taskyard import flow, task


@task
def greet():
    print("Hello from a task")


@flow
def main():
    greet()


main()
