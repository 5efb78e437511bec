"""An installation for each test, and one server for object storage."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos.writes.places import OBJECTS, Place, make_place
from support.object_server import ObjectServer, server_for_tests
from support.processes import Installation, installation


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Installation]:
    database = f"sqlite:///{tmp_path / 'taskyard.db'}"
    with installation(tmp_path, database, agent_lease=3, session_lease=5) as running:
        yield running


@pytest.fixture(scope="session")
def object_server() -> Iterator[ObjectServer]:
    yield from server_for_tests()


@pytest.fixture
def place(request: pytest.FixtureRequest, running: Installation, tmp_path: Path) -> Iterator[Place]:
    """Where the values of a test are, by its parameter; they are large, so none is kept."""
    objects = request.getfixturevalue("object_server") if request.param == OBJECTS else None
    place = make_place(request.param, running, tmp_path, objects)
    yield place
    running.end()
    for path in (place.files, tmp_path / "home"):
        shutil.rmtree(path, ignore_errors=True)
