"""A task is made of something that can be called, and some names of parameters are taken.

Prints:
    TypeError
    ReservedArgumentError 'wait_for' is a reserved argument name and cannot be used.
"""

from taskyard import Task, task
from taskyard.exceptions import ReservedArgumentError

try:
    Task(5)
except TypeError as error:
    print(type(error).__name__)


try:

    @task
    def waits(wait_for):
        pass
except ReservedArgumentError as error:
    print(type(error).__name__, error)
