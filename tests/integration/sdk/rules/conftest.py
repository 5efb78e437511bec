"""Each rule is tested twice: with the runs of a program in a real agent, and in threads of the program."""

import os
from collections.abc import Iterator

import pytest
from support.plane_and_agent import Plane, end_sessions

from taskyard.client.orchestration import SyncTaskyardClient, get_client


@pytest.fixture(autouse=True, params=["agents", "threads"])
def runner(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, plane: Plane) -> str:
    """Where runs are executed."""
    monkeypatch.setenv("TASKYARD_TASK_RUNNER", request.param)
    return str(request.param)


@pytest.fixture
def client(runner: str) -> Iterator[SyncTaskyardClient]:
    """Reads what is recorded."""
    with get_client(sync_client=True) as blocking:
        yield blocking


@pytest.fixture
def plane(shared_plane: Plane, _sessions: None) -> Plane:
    """The programs, named by TASKYARD_SERVER; their workers stay from test to test."""
    os.environ["TASKYARD_SERVER"] = shared_plane.address
    return shared_plane


@pytest.fixture(scope="module")
def _sessions() -> Iterator[None]:
    yield
    end_sessions()
