"""The private loop thread: started when needed, stopped, not usable after a fork."""

import asyncio
import threading

import pytest

from taskyard._network.server.loop_thread import Portal
from taskyard.exceptions import ConnectionFailed


async def thread_name() -> str:
    return threading.current_thread().name


async def raising() -> None:
    raise KeyError("k")


def test_work_runs_on_one_thread_of_its_own() -> None:
    before = threading.active_count()
    portal = Portal()
    try:
        assert portal.run(thread_name()) == "taskyard-portal"
        assert portal.loop() is portal.loop()
        assert threading.active_count() == before + 1
    finally:
        portal.stop()
    assert threading.active_count() == before


def test_it_starts_again_after_it_was_stopped() -> None:
    portal = Portal()
    first = portal.loop()
    portal.stop()
    try:
        assert portal.loop() is not first
    finally:
        portal.stop()


def test_exceptions_come_back_and_slow_work_is_cancelled() -> None:
    portal = Portal()
    cancelled = threading.Event()

    async def slow() -> None:
        try:
            await asyncio.sleep(30)
        finally:
            cancelled.set()

    try:
        with pytest.raises(KeyError):
            portal.run(raising())
        with pytest.raises(TimeoutError):
            portal.run(slow(), timeout=0.01)
        assert cancelled.wait(5)
    finally:
        portal.stop()


def test_the_child_of_a_connected_process_gets_an_error_instead_of_a_crash() -> None:
    portal = Portal()
    portal.loop()
    stop = portal.stop
    parents = portal._loop, portal._thread
    portal.forget()
    try:
        with pytest.raises(ConnectionFailed, match="does not survive a fork"):
            portal.run(thread_name())
    finally:
        portal._loop, portal._thread = parents
        stop()


def test_the_child_of_a_process_that_never_connected_may_connect() -> None:
    portal = Portal()
    portal.forget()
    try:
        assert portal.run(thread_name()) == "taskyard-portal"
    finally:
        portal.stop()
