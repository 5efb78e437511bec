"""Every kind of store, for one suite."""

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from support.object_server import ObjectServer, server_for_tests

from taskyard_controlplane.blobs import create_blob_store
from taskyard_controlplane.blobs.interface import BlobStore
from taskyard_controlplane.blobs.places import parse_place

DATABASE = "the database"
KINDS = [
    "memory",
    "directory",
    pytest.param("objects", marks=pytest.mark.objects),
]


@pytest.fixture(scope="session")
def object_server() -> Iterator[ObjectServer]:
    yield from server_for_tests()


@pytest.fixture
def bucket(object_server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """A place in a bucket of its own, and the environment to use it."""
    for name, value in object_server.environment().items():
        monkeypatch.setenv(name, value)
    return object_server.make_bucket(f"bucket-{uuid4().hex[:12]}")


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "objects":
        url: str = request.getfixturevalue("bucket")
        return url
    return "memory:" if request.param == "memory" else str(tmp_path / "blobs")


@pytest.fixture
def opened() -> Iterator[Callable[[str], BlobStore]]:
    """Open stores; they are closed after the test."""
    stores: list[BlobStore] = []

    def open_store(url: str, database_id: str = DATABASE) -> BlobStore:
        store = create_blob_store(parse_place(url))
        store.open(database_id)
        stores.append(store)
        return store

    yield open_store
    for store in stores:
        store.close()


@pytest.fixture
def store(place: str, opened: Callable[[str], BlobStore]) -> BlobStore:
    return opened(place)
