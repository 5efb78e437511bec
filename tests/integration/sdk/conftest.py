"""One control plane and one agent for all tests here, and a session for each file.

The workers of a session stay as long as it does, so tests of one file find them warm. Whoever needs a session
that nobody had before calls `end_sessions` first.
"""

import os
from collections.abc import Iterator

import pytest
from support.plane_and_agent import Plane, end_sessions, plane_and_agent


@pytest.fixture(scope="session")
def shared_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """The programs."""
    with plane_and_agent(tmp_path_factory.mktemp("plane")) as plane:
        yield plane


@pytest.fixture(scope="module")
def _sessions() -> Iterator[None]:
    yield
    end_sessions()


@pytest.fixture
def plane(shared_plane: Plane, _sessions: None) -> Plane:
    """The programs, named by TASKYARD_SERVER."""
    os.environ["TASKYARD_SERVER"] = shared_plane.address
    return shared_plane
