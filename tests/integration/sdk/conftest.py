"""One control plane and one agent for all tests here, and a session of its own for each test."""

import os
from collections.abc import Iterator

import pytest
from support.plane_and_agent import Plane, end_sessions, plane_and_agent


@pytest.fixture(scope="session")
def shared_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """The programs."""
    with plane_and_agent(tmp_path_factory.mktemp("plane")) as plane:
        yield plane


@pytest.fixture
def plane(shared_plane: Plane) -> Iterator[Plane]:
    """The programs, named by TASKYARD_SERVER."""
    os.environ["TASKYARD_SERVER"] = shared_plane.address
    yield shared_plane
    end_sessions()
