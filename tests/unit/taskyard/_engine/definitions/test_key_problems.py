import logging
import threading
from typing import Any

import pytest

from taskyard import task
from taskyard.cache_policies import INPUTS, RUN_ID, TASK_SOURCE
from taskyard.context import TaskRun, TaskRunContext
from taskyard.tasks import Task


@task(cache_policy=INPUTS)
def double(x: object) -> object:
    return x


@task(cache_policy=INPUTS)
def triple(x: object) -> object:
    return x


def key(of: Task[..., Any], value: object) -> str | None:
    return of.cache_key_of(TaskRunContext(of, TaskRun(b"t" * 16, "t-0", task_name=of.name), {"x": value}))


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_two_tasks_with_one_key_are_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    assert key(double, "warned") == key(double, "warned") == key(double.with_options(tags=["a"]), "warned")
    assert messages(caplog) == []
    assert key(triple, "warned") == key(double, "warned")
    assert key(triple, "again") == key(double, "again")
    assert messages(caplog) == [
        "'double' and 'triple' have the same cache key for equal inputs, so each is given results of the "
        "other; with cache_policy=INPUTS + TASK_SOURCE each has its own"
    ]


def test_only_keys_that_do_not_know_the_task_are_compared(caplog: pytest.LogCaptureFixture) -> None:
    for policy in (INPUTS + TASK_SOURCE, INPUTS + TASK_SOURCE + RUN_ID):
        assert key(double.with_options(cache_policy=policy), "x") != key(
            triple.with_options(cache_policy=policy), "x"
        )
    one, two = (task(cache_key_fn=lambda context, parameters: "fixed")(fn) for fn in (double.fn, triple.fn))
    assert key(one, 1) == key(two, 1) == "fixed"
    assert messages(caplog) == []


def test_that_a_value_has_no_content_is_said_once_without_a_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    uncached = task(cache_policy=INPUTS, name="of a lock")(lambda x: x)
    assert [key(uncached, threading.Lock()) for _ in range(3)] == [None] * 3
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.exc_info is None
    assert (
        "no cache key could be computed for 'of a lock', so it runs uncached (said once)"
        in record.getMessage()
    )
    assert "cannot pickle '_thread.lock' object" in record.getMessage()


def test_a_key_function_that_raises_is_told_in_one_line_with_its_place(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(context: object, parameters: object) -> str:
        raise KeyError("mine")

    uncached = task(cache_key_fn=broken, name="with a broken key")(double.fn)
    assert [key(uncached, 1) for _ in range(3)] == [None] * 3
    (record,) = caplog.records
    assert record.exc_info is None
    line = broken.__code__.co_firstlineno + 1
    assert record.getMessage().endswith(f"(said once): KeyError: 'mine', at {__file__}:{line}")


def test_the_traceback_of_a_key_function_is_there_for_who_looks_for_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(context: object, parameters: object) -> str:
        raise KeyError("mine")

    with caplog.at_level(logging.DEBUG, "taskyard.tasks"):
        assert key(task(cache_key_fn=broken, name="to be looked at")(double.fn), 1) is None
    warned, detail = caplog.records
    assert (warned.exc_info, detail.levelno) == (None, logging.DEBUG)
    assert detail.exc_info is not None
