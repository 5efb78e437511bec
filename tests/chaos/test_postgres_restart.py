"""PostgreSQL is stopped at once and started again while runs are under way."""

import random
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.history import check_all, read_history
from support.postgres import PostgresServer, running_server
from support.processes import Installation, free_port, installation
from support.recorded import Recorded

from taskyard_controlplane.cli import ExitCode

pytestmark = [pytest.mark.chaos, pytest.mark.postgresql, pytest.mark.timeout(120)]

COUNT = 14_000
STOPS = 3
LONG_SECONDS = 7.0
"""Longer than the control plane lets new runs wait for their commit."""
ENDED_SECONDS = 30.0
"""The grace of open calls and that of the database, twice: the machine may be busy."""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL of this module's own: the session's is used by others."""
    with running_server() as server:
        yield server


@pytest.fixture
def running(server: PostgresServer, tmp_path: Path) -> Iterator[Installation]:
    with (
        server.database() as url,
        installation(tmp_path, url, agent_lease=3, session_lease=4) as running,
    ):
        running.start_server()
        running.start_agent()
        yield running


def test_the_database_is_restarted_in_the_middle(running: Installation, server: PostgresServer) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    drawn = random.Random(seed)
    client = running.start_client("bulk", COUNT - 500, 500, 1.0)
    running.wait_for(lambda: len(client.output()) > 1000, 30, "the first results")
    for _ in range(STOPS):
        time.sleep(drawn.uniform(0.1, 0.7))
        assert client.running, client.describe()
        server.stop_at_once()
        time.sleep(drawn.uniform(0.0, 1.5))
        server.start_again()
    records = running.succeeded(client, 60)
    assert len(records) == COUNT
    assert running.metric("taskyard_commit_failures_total") > 0, "no commit met the restart"
    running.stop_server()
    check_all(records, Recorded(running.database), read_history(running.history))


def test_a_client_waits_for_a_database_that_is_away_for_long(
    running: Installation, server: PostgresServer
) -> None:
    """Leases are extended meanwhile: nobody can prove to be alive while nothing can be recorded."""
    early = running.start_client("bulk", 4_000, 1, 1.0)
    running.wait_for(lambda: len(early.output()) > 1000, 30, "the first results")
    server.stop_at_once()
    time.sleep(LONG_SECONDS)
    late = running.start_client("bulk", 500, 500, 1.0)
    time.sleep(1.5)
    assert early.running, early.describe()
    assert late.running, late.describe()
    server.start_again()
    records = running.succeeded(early, 60) + running.succeeded(late, 60)
    assert len(records) == 4_001 + 1_000
    running.stop_server()
    check_all(records, Recorded(running.database), read_history(running.history))


def test_a_database_that_hangs_is_seen_and_nothing_is_lost(
    running: Installation, server: PostgresServer
) -> None:
    client = running.start_client("bulk", 4_000, 1, 1.0)
    running.wait_for(lambda: len(client.output()) > 1000, 30, "the first results")
    assert running.metric("taskyard_database_stalled") == 0
    server.send_all(signal.SIGSTOP)
    try:
        running.wait_for(lambda: running.metric("taskyard_database_stalled") == 1, 30, "the gauge")
        plane = running.server
        assert plane is not None
        told = "the database has not answered for"
        running.wait_for(lambda: told in plane.errors(), 30, "the line in the log")
        assert client.running, client.describe()
    finally:
        server.send_all(signal.SIGCONT)
    records = running.succeeded(client, 60)
    # The page is made anew once a second at most.
    running.wait_for(lambda: running.metric("taskyard_database_stalled") == 0, 30, "the gauge to go back")
    assert running.metric("taskyard_leases_expired_total") == 0
    running.stop_server()
    check_all(records, Recorded(running.database), read_history(running.history))


def test_a_server_whose_database_hangs_ends_when_it_is_told_to(
    running: Installation, server: PostgresServer
) -> None:
    """Not in order, and it says so; nothing was acknowledged that is not there afterwards."""
    client = running.start_client("bulk", 4_000, 1, 1.0)
    running.wait_for(lambda: len(client.output()) > 1000, 30, "the first results")
    plane = running.server
    assert plane is not None
    server.send_all(signal.SIGSTOP)
    try:
        plane.send(signal.SIGTERM)
        assert running.exit_code(plane, ENDED_SECONDS) == ExitCode.DATABASE_UNUSABLE
        assert "the database did not answer" in plane.errors(), plane.describe()
    finally:
        server.send_all(signal.SIGCONT)
    running.start_server()
    records = running.succeeded(client, 60)
    running.stop_server()
    check_all(records, Recorded(running.database), read_history(running.history))


def test_a_server_that_waits_to_become_the_owner_ends_when_it_is_told_to(running: Installation) -> None:
    owner = running.server
    assert owner is not None
    owner.send(signal.SIGSTOP)
    running.address = f"127.0.0.1:{free_port()}"
    try:
        standby = running.spawn_server()
        running.wait_for(
            lambda: _listens(running.address), 30, "it has bound its port, and asks the database"
        )
        standby.send(signal.SIGTERM)
        assert running.exit_code(standby, ENDED_SECONDS) == ExitCode.OK
        assert "ready" not in standby.output(), standby.describe()
    finally:
        owner.send(signal.SIGCONT)


def _listens(address: str) -> bool:
    host, _, port = address.partition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0
