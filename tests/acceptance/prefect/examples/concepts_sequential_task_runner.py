"""`SequentialTaskRunner`: each run has ended when its submission, or a call that returns its future, returns.

Prints:
    hello arthur
    goodbye arthur
    hello ford
    goodbye ford
    ended: True
"""

from taskyard import flow, task
from taskyard.task_runners import SequentialTaskRunner


@task
def say_hello(name):
    print(f"hello {name}")


@task
def say_goodbye(name):
    print(f"goodbye {name}")


@flow(task_runner=SequentialTaskRunner(), task_calls="future")
def greetings(names):
    for name in names:
        say_hello(name)
        future = say_goodbye(name)
    print("ended:", future.done())


greetings(["arthur", "ford"])
