"""``kill -9`` at each step of a write, and of a read, of a large value.

Whoever is killed is started again, as a supervisor would. The flow ends with the right values, nothing is
executed more often than it must be, and nothing half written can be read by its name.
"""

import hashlib
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from chaos.writes.steps import FAR, NEAR, OBJECTS, Step
from chaos.writes.stored import Stored
from support.failpoints import BLIND, Failing
from support.object_server import ObjectServer, server_for_tests
from support.processes import Child, Installation, installation
from support.recorded import Recorded

pytestmark = pytest.mark.timeout(120)

KILLED = -signal.SIGKILL
SECONDS = 60
NUMBERS = 2_500_000
"""20 MB: several steps of a write, and several parts of an object."""


def digest(first: int) -> str:
    return hashlib.sha256(np.arange(first, first + NUMBERS, dtype=np.float64).tobytes()).hexdigest()


EXPECTED = {"seen": [digest(1), digest(0)], "made": digest(1)}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Installation]:
    database = f"sqlite:///{tmp_path / 'taskyard.db'}"
    with installation(tmp_path, database, agent_lease=3, session_lease=5) as running:
        yield running


@pytest.fixture(scope="module")
def object_server() -> Iterator[ObjectServer]:
    yield from server_for_tests()


def ids(step: Step) -> str:
    return step.name.replace(" ", "-")


@pytest.mark.chaos
@pytest.mark.parametrize("step", NEAR, ids=ids)
def test_beside_the_directory(running: Installation, tmp_path: Path, step: Step) -> None:
    stored = Stored(tmp_path / "taskyard-blobs", shared=True)
    check(running, step, Failing(tmp_path), stored)


@pytest.mark.chaos
@pytest.mark.parametrize("step", FAR, ids=ids)
def test_away_from_the_directory(running: Installation, tmp_path: Path, step: Step) -> None:
    failing = Failing(tmp_path)
    for name in ("agent-first", "values"):
        running.variables[name] = failing.variables(BLIND)
    check(running, step, failing, Stored(tmp_path / "taskyard-blobs", shared=False))


@pytest.mark.objects
@pytest.mark.parametrize("step", OBJECTS, ids=ids)
def test_with_object_storage(
    running: Installation, tmp_path: Path, object_server: ObjectServer, step: Step
) -> None:
    bucket = f"bucket-{uuid4().hex[:12]}"
    place = {"TASKYARD_BLOBS": object_server.make_bucket(bucket)}
    running.variables["server"] = object_server.environment() | place
    check(running, step, Failing(tmp_path), Stored(object_server.files / bucket / "yard", shared=False))


def check(running: Installation, step: Step, failing: Failing, stored: Stored) -> None:
    """Have somebody killed at a step, start him again, and compare everything with what it should be."""
    name = {"server": "server", "client": "values"}.get(step.victim, "agent-first")
    before = running.variables.get(name, {})
    own = failing.variables(step.point, *([BLIND] if "FAILPOINTS" in before else []))
    running.variables[name] = before | own
    server, agent = running.start_server(), running.start_agent()
    client = running.start_client("values", NUMBERS)
    running.wait_for(lambda: failing.met(step.point), SECONDS, step.name)
    if step.victim == "client":
        assert running.exit_code(client, SECONDS) == KILLED
        stored.check()
        client = running.start_client("values", NUMBERS)
    elif step.victim != "worker":
        killed = server if step.victim == "server" else agent
        assert running.exit_code(killed, SECONDS) == KILLED
        stored.check()
        agent = restarted(running, step, agent)
    records = running.succeeded(client, SECONDS)
    check_end(running, step, records, stored)
    assert agent.running, agent.describe()


def restarted(running: Installation, step: Step, agent: Child) -> Child:
    """Start who was killed again; returns the agent."""
    if step.victim == "agent":
        return running.start_agent()
    running.start_server()
    return agent


def check_end(running: Installation, step: Step, records: list[dict[str, Any]], stored: Stored) -> None:
    assert records == [EXPECTED]
    executed = Counter(running.history.read_text().split())
    assert executed == {"make": step.made, "look": step.looked}
    running.stop_server()
    stored.check()
    orphans = stored.orphans(Recorded(running.database))
    print(f"orphans: {orphans}, unfinished: {stored.unfinished()}")
    assert len(orphans) + len(stored.unfinished()) <= 1, "more is left than one value of one kill"
