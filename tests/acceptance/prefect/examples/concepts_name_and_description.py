"""Name and description of a task are options.

Prints:
    Hello from a task
    hello-task | Says hello to whoever reads.
"""

from taskyard import flow, task


@task(name="hello-task", description="Says hello to whoever reads.")
def greet():
    print("Hello from a task")


@flow
def main():
    greet()


main()
print(greet.name, "|", greet.description)
