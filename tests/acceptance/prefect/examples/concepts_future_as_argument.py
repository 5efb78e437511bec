"""A task that is given a future receives the value.

Prints:
    <class 'str'>
    Hello Ann!
"""

from taskyard import flow, task


@task
def say_hello(name):
    return f"Hello {name}!"


@task
def show(result):
    print(type(result))
    print(result)


@flow(name="hello-flow")
def main():
    future = say_hello.submit("Ann")
    show(future)


main()
