"""In the first releases of Prefect 2 a call returned a future. Here the value; `submit` returns the future.

Prints:
    <class 'str'>
    <class 'taskyard.futures.Future'>
"""

from taskyard import flow, task


@task
def say_hello(name):
    return f"Hello {name}!"


@flow
def main():
    print(type(say_hello("Ann")))
    print(type(say_hello.submit("Ann")))


main()
