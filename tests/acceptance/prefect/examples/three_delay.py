"""`delay` takes arguments as a call does, inside of a flow and outside.

Prints:
    hello Ann
    hello Ann
    hello Ben
"""

from taskyard import flow, task


@task
def hello(name="world"):
    return f"hello {name}"


@flow
def main():
    print(hello.delay("Ann").wait().result())
    print(hello.delay("Ann").result())


main()
print(hello.delay("Ben").result())
