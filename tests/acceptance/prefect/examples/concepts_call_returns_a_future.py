"""In the first releases of Prefect 2 a call returned a future. Here in flows that say so; else the value.

Prints:
    variable 'future' is type <class 'taskyard.futures.Future'>
    Hello Marvin!
    variable 'future' is type <class 'str'>
"""

from taskyard import flow, task


@task
def say_hello(name):
    return f"Hello {name}!"


@flow(task_calls="future")
def hello_world():
    future = say_hello("Marvin")
    print(f"variable 'future' is type {type(future)}")
    print(future.wait().result())


@flow
def of_prefect_3():
    future = say_hello("Marvin")
    print(f"variable 'future' is type {type(future)}")


hello_world()
of_prefect_3()
