"""Each rule is tested twice: with the runs of a program in a real agent, and in threads of the program."""

from collections.abc import Iterator

import pytest
from support.plane_and_agent import Plane

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
