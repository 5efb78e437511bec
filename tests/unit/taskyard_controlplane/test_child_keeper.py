"""The yard's agent is restarted with growing delays, and ends with the yard."""

import subprocess
import sys
import time
from typing import Any

import pytest

from taskyard_controlplane import agent_keeper, child_keeper
from taskyard_controlplane.agent_keeper import AgentKeeper
from taskyard_controlplane.child_keeper import LONGEST_DELAY_SECONDS, STABLE_SECONDS, Backoff


def test_delays_grow_up_to_a_limit() -> None:
    backoff = Backoff()
    delays = [backoff.after_run(0) for _ in range(10)]
    assert delays == sorted(delays)
    assert (delays[0], delays[-1]) == (0.2, LONGEST_DELAY_SECONDS)


def test_an_agent_that_lasted_is_restarted_soon() -> None:
    backoff = Backoff()
    for _ in range(10):
        backoff.after_run(0)
    assert backoff.after_run(STABLE_SECONDS) == 0.2


def test_leaving_the_context_ends_the_agent() -> None:
    with AgentKeeper([sys.executable, "-c", "input()"]) as keeper:
        pass
    assert keeper.pid is None


def test_an_agent_that_cannot_be_started_now_is_started_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_keeper, "FIRST_DELAY_SECONDS", 0.01)
    monkeypatch.setattr(child_keeper.threading, "excepthook", lambda _: None)
    real, refused = subprocess.Popen, 1

    def popen(*args: Any, **options: Any) -> Any:
        nonlocal refused
        if refused:
            refused -= 1
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return real(*args, **options)

    monkeypatch.setattr(agent_keeper.subprocess, "Popen", popen)
    with agent_keeper.AgentKeeper([sys.executable, "-c", "import time; time.sleep(60)"]) as keeper:
        for _ in range(100):
            if keeper.pid:
                break
            time.sleep(0.01)
        assert keeper.pid
