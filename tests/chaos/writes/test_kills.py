"""``kill -9`` at each step of a write, and of a read, of a large value.

Whoever is killed is started again, as a supervisor would. The flow ends with the right values, nothing is
executed more often than it must be, and nothing half written can be read by its name.
"""

import hashlib
import signal
from collections import Counter
from typing import Any

import grpc
import numpy as np
import pytest
from chaos.writes import places
from chaos.writes.places import Place
from chaos.writes.steps import BESIDE, FAR, NEAR, OBJECTS, Step
from chaos.writes.stored import Stored
from support.processes import Child, Installation
from support.recorded import Recorded

from taskyard_api.v1 import blob_service_pb2, blob_service_pb2_grpc, common_pb2

pytestmark = pytest.mark.timeout(300)

KILLED = -signal.SIGKILL
SECONDS = 90
NUMBERS = 2_500_000
"""20 MB: several steps of a write, and several parts of an object."""


def digest(first: int) -> str:
    return hashlib.sha256(np.arange(first, first + NUMBERS, dtype=np.float64).tobytes()).hexdigest()


EXPECTED = {"seen": [digest(1), digest(0)], "made": digest(1)}


def ids(step: Step) -> str:
    return step.name.replace(" ", "-")


CASES = [
    *(
        pytest.param(kind, step, id=f"{kind}-{ids(step)}", marks=pytest.mark.chaos)
        for kind, steps in ((places.NEAR, NEAR), (places.FAR, FAR), (places.BESIDE, BESIDE))
        for step in steps
    ),
    *(
        pytest.param(places.OBJECTS, step, id=f"objects-{ids(step)}", marks=pytest.mark.objects)
        for step in OBJECTS
    ),
]


@pytest.mark.parametrize(("place", "step"), CASES, indirect=["place"])
def test_whoever_is_killed_nothing_is_lost(place: Place, step: Step) -> None:
    """Have somebody killed at a step, start him again, and compare everything with what it should be."""
    running, stored = place.running, Stored(place.files, shared=place.kind == places.NEAR)
    name = {"server": "server", "data": "server", "client": "values"}.get(step.victim, "agent-first")
    place.fail(name, step.point)
    server, agent = running.start_server(), running.start_agent()
    if place.kind == places.BESIDE:
        running.wait_for(lambda: is_granted(running.address), SECONDS, "the data process")
    client = running.start_client("values", NUMBERS)
    running.wait_for(lambda: place.failing.met(step.point), SECONDS, step.name)
    if step.victim == "client":
        assert running.exit_code(client, SECONDS) == KILLED
        stored.check()
        client = running.start_client("values", NUMBERS)
    elif step.victim not in ("worker", "data"):
        killed = server if step.victim == "server" else agent
        assert running.exit_code(killed, SECONDS) == KILLED
        stored.check()
        agent = restarted(running, step, agent)
    records = running.succeeded(client, SECONDS)
    check_end(running, step, records, stored)
    assert agent.running, agent.describe()


def is_granted(address: str) -> bool:
    """Ask for a way past the control plane, which starts what serves it."""
    with grpc.insecure_channel(address) as channel:
        stub: Any = blob_service_pb2_grpc.BlobServiceStub(channel)
        wanted = common_pb2.BlobRef(name="b3-" + "0" * 64, size=1)
        granted = stub.GrantTransfers(blob_service_pb2.GrantTransfersRequest(reads=[wanted]), timeout=SECONDS)
    return bool(granted.reads)


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
