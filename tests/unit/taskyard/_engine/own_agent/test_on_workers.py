"""What a program hears of its agents on the workers of a cluster, and of one that reaches nobody."""

import logging
import threading
from pathlib import Path
from typing import Any

import pytest

from taskyard._engine.own_agent.on_workers import Order, Ordered
from taskyard.exceptions import TaskyardError


class Session:
    """What `Ordered` needs of a session."""

    session_id = b"\x01" * 16

    def __init__(self) -> None:
        self.error: TaskyardError | None = None

    def locate(self) -> str:
        return "host:4200"

    def fail(self, error: TaskyardError) -> None:
        self.error = error


def ordered() -> tuple[Ordered, Session]:
    session: Any = Session()
    return Ordered(session, "dask"), session


def test_each_flow_run_has_a_queue_of_its_own() -> None:
    one, other = ordered()[0], ordered()[0]
    assert one.order.server == "host:4200"
    assert one.order.queue.startswith(f"dask-{'01' * 16}-")
    assert one.order.queue != other.order.queue


def test_a_worker_that_fails_is_warned_of_while_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    agents, session = ordered()
    agents.on("a")
    agents.on("b")
    with caplog.at_level(logging.WARNING):
        agents.failed("a", "ended with exit code 1", "\n  out of memory")
    assert session.error is None
    assert "the agent on dask worker a ended with exit code 1. The end of its log:\n  out of" in caplog.text
    assert "1 other(s) go on" in caplog.text


def test_the_runs_fail_when_the_last_worker_has_failed() -> None:
    agents, session = ordered()
    agents.on("a")
    agents.on("b")
    agents.lost("a")
    assert session.error is None, "the cluster may bring another one"
    agents.failed("b", "could not be started (no memory)", "")
    assert str(session.error) == (
        "the agent on dask worker b could not be started (no memory); there is no other, so runs cannot be"
        " executed"
    )


def test_a_cluster_may_lose_all_workers_and_bring_another() -> None:
    agents, session = ordered()
    agents.on("a")
    agents.lost("a")
    agents.on("b")
    assert session.error is None


@pytest.mark.parametrize(
    ("server", "hint"),
    [
        ("127.0.0.1:1", "that address is for one machine only; start a server that others reach"),
        ("localhost:1", "that address is for one machine only; start a server that others reach"),
        ("unix:{home}/none.sock", "that address is for one machine only; start a server that others reach"),
        ("0.0.0.0:1", "look at the network between them"),
    ],
)
def test_a_worker_that_does_not_reach_the_control_plane_says_so(
    server: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKYARD_HOME", str(tmp_path))
    said: list[tuple[str, str]] = []
    heard = threading.Event()

    def failed(how: str, log: str) -> None:
        said.append((how, log))
        heard.set()

    server = server.format(home=tmp_path)
    agent = Order(server, "queue").fulfil(1, failed)
    assert heard.wait(30)
    agent.close()
    [(how, log)] = said
    assert how.startswith("could not be started (no connection from ")
    assert f"to the control plane at {server}: " in how
    assert hint in how
    assert log == ""
    assert agent.pid is None
