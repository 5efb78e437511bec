"""`apply_async` makes a run that belongs to no flow; its future waits and has the result.

Prints:
    hello Ann
    hello Ann
    hello world
"""

from taskyard import flow, task


@task
def hello(name="world"):
    return f"hello {name}"


@flow
def main():
    print(hello.apply_async(("Ann",)).wait().result())
    print(hello.apply_async(("Ann",)).result())
    print(hello.apply_async(kwargs={"name": "world"}).result())


main()
