"""Functions to be found by ``module:qualname``, wrapped in every way."""

from typing import Any
from unittest.mock import MagicMock

from taskyard import flow, task


def plain(a: int = 1) -> int:
    return a


@task
def decorated(a: int = 1) -> int:
    return a + 10


twice = task(task(plain))  # type: ignore[call-overload]  # a mistake that works
of_flow = flow(plain)
mock = MagicMock()
number = 5


class Outer:
    """A class with a class."""

    fn = number
    """A class that has such an attribute is no task."""

    def __init__(self, a: int = 0) -> None:
        self.a = a

    class Inner:
        def method(self, a: int = 1) -> int:
            return a + 20

        @staticmethod
        def static(a: int = 1) -> int:
            return a + 30

        @classmethod
        def of_class(cls, a: int = 1) -> tuple[str, int]:
            return cls.__name__, a

        @task
        @staticmethod
        def task_of_static(a: int = 1) -> int:
            return a + 40

        @staticmethod
        @task
        def static_of_task(a: int = 1) -> int:
            return a + 50

        @task
        @classmethod
        def task_of_class(cls, a: int = 1) -> tuple[str, int]:
            return cls.__name__, a

        @classmethod
        @task
        def class_of_task(cls, a: int = 1) -> tuple[str, int]:
            return cls.__name__, a


class Heir(Outer.Inner):
    """Has the methods of another class."""


class Whole:
    """An object that can be called."""

    def __call__(self, a: int = 1) -> int:
        return a + 60

    def method(self, a: int = 1) -> int:
        return a + 70


whole: Any = Whole()
