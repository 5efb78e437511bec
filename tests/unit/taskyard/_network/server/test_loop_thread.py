"""The private loop thread: started when needed, stopped, not usable after a fork."""

import asyncio
import threading

import pytest

from taskyard._network.server.loop_thread import LoopThread
from taskyard.exceptions import ConnectionFailed


async def thread_name() -> str:
    return threading.current_thread().name


async def raising() -> None:
    raise KeyError("k")


def test_work_runs_on_one_thread_of_its_own() -> None:
    before = set(threading.enumerate())  # of other tests; some of them may be about to end
    loop_thread = LoopThread()
    try:
        assert loop_thread.run(thread_name()) == "taskyard-loop"
        assert loop_thread.loop() is loop_thread.loop()
        [own] = set(threading.enumerate()) - before
        assert own.name == "taskyard-loop"
    finally:
        loop_thread.stop()
    assert not own.is_alive()


def test_it_starts_again_after_it_was_stopped() -> None:
    loop_thread = LoopThread()
    first = loop_thread.loop()
    loop_thread.stop()
    try:
        assert loop_thread.loop() is not first
    finally:
        loop_thread.stop()


def test_exceptions_come_back_and_slow_work_is_cancelled() -> None:
    loop_thread = LoopThread()
    cancelled = threading.Event()

    async def slow() -> None:
        try:
            await asyncio.sleep(30)
        finally:
            cancelled.set()

    try:
        with pytest.raises(KeyError):
            loop_thread.run(raising())
        with pytest.raises(TimeoutError):
            loop_thread.run(slow(), timeout=0.01)
        assert cancelled.wait(30)
    finally:
        loop_thread.stop()


def test_the_child_of_a_connected_process_gets_an_error_instead_of_a_crash() -> None:
    loop_thread = LoopThread()
    loop_thread.loop()
    stop = loop_thread.stop
    parents = loop_thread._loop, loop_thread._thread
    loop_thread.forget()
    try:
        with pytest.raises(ConnectionFailed, match="does not survive a fork"):
            loop_thread.run(thread_name())
    finally:
        loop_thread._loop, loop_thread._thread = parents
        stop()


def test_the_child_of_a_process_that_never_connected_may_connect() -> None:
    loop_thread = LoopThread()
    loop_thread.forget()
    try:
        assert loop_thread.run(thread_name()) == "taskyard-loop"
    finally:
        loop_thread.stop()
