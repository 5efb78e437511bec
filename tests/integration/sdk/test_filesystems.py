"""File systems as places of results, wherever tasks run; and the blocks that come along."""

import datetime
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from support.object_server import ObjectServer, server_for_tests
from support.plane_and_agent import Plane

from taskyard import flow, task
from taskyard.blocks.core import Block
from taskyard.blocks.system import JSON, DateTime, String
from taskyard.exceptions import ResultStorageError
from taskyard.filesystems import LocalFileSystem, RemoteFileSystem, WritableFileSystem
from taskyard.results import ResultStore
from taskyard.task_runs import read_task_run


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return f"my-block-{uuid4().hex}"


@pytest.fixture(params=["agents", "threads"])
def runner(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Who executes the runs."""
    monkeypatch.setenv("TASKYARD_TASK_RUNNER", request.param)
    return str(request.param)


@pytest.fixture
def files(tmp_path: Path, name: str, plane: Plane) -> Iterator[LocalFileSystem]:
    """A saved file system."""
    block = LocalFileSystem(basepath=str(tmp_path))
    block.save(name)
    yield block
    LocalFileSystem.delete(name)


@task
def one(value: Any = 1) -> Any:
    return [value]


@task
def uses(name: str) -> bytes:
    files = LocalFileSystem.load(name)
    files.write_path("by-a-task", b"1")
    return files.read_path("by-a-task")


@task
async def uses_in_a_loop(name: str) -> list[Any]:
    files: Any = await LocalFileSystem.load(name)  # type: ignore[misc]
    await files.write_path("by-a-task", b"1")
    return [await files.read_path("by-a-task"), await files.aread_path("by-a-task")]


@pytest.mark.parametrize("given", ["block", "name"])
def test_row_23_a_saved_block_is_a_storage(
    runner: str, files: LocalFileSystem, name: str, tmp_path: Path, given: str
) -> None:
    reference = f"local-file-system/{name}"
    storage = files if given == "block" else reference
    stored = one.with_options(result_storage=storage, result_storage_key="r-{parameters[value]}")
    assert stored.result_storage == reference

    @flow
    def body() -> list[Any]:
        future = stored.submit(2)
        state = stored(3, return_state=True)
        return [
            future.result(),
            one(future),
            state.result(),
            read_task_run(future.task_run_id).state.result(),
        ]

    assert body() == [[2], [[2]], [3], [2]]
    assert sorted(os.listdir(tmp_path)) == ["r-2", "r-3"]
    assert ResultStore(result_storage=files).read("r-2").result == [2]
    assert ResultStore(result_storage=reference).read("r-3").result == [3]
    assert ResultStore(result_storage=LocalFileSystem(basepath=str(tmp_path))).read("r-3").result == [3]


def test_row_23_tasks_inherit_it_from_the_flow(
    runner: str, files: LocalFileSystem, name: str, tmp_path: Path
) -> None:
    @flow(result_storage=files, persist_result=True)
    def body() -> Any:
        return one.submit(5).result()

    assert body() == [5]
    assert len(os.listdir(tmp_path)) == 2


def test_row_23_an_unsaved_block_is_refused(tmp_path: Path) -> None:
    for refused in (one.with_options, flow(lambda: None).with_options):
        with pytest.raises(
            TypeError, match=r"must be persisted server-side. Please call `\.save\(\)` on your"
        ):
            refused(result_storage=LocalFileSystem(basepath=str(tmp_path)))
    with pytest.raises(TypeError, match="or an object with read_path and write_path"):
        one.with_options(result_storage=String(value="x"))


def test_row_23_a_name_is_looked_up_where_results_are_written(
    plane: Plane, runner: str, name: str, tmp_path: Path
) -> None:
    early = one.with_options(result_storage=f"local-file-system/{name}")

    @flow
    def body() -> Any:
        return early()

    with pytest.raises(
        ResultStorageError, match=f"named {name} for block type .*write './local-file-system/"
    ):
        body()
    LocalFileSystem(basepath=str(tmp_path)).save(name)
    assert body() == [1]
    assert len(os.listdir(tmp_path)) == 1


def test_row_23_a_block_that_is_no_storage_is_named(plane: Plane, runner: str, name: str) -> None:
    String(value="x").save(name)

    @flow
    def body() -> Any:
        return one.with_options(result_storage=f"string/{name}")()

    with pytest.raises(ResultStorageError, match="is no storage: it has no read_path and write_path"):
        body()


class Shelf(WritableFileSystem):
    """A file system of a user's own."""

    folder: str

    def read_path(self, path: str) -> bytes:
        return Path(self.folder, path).read_bytes()

    def write_path(self, path: str, content: bytes) -> None:
        Path(self.folder, path).write_bytes(content)


def test_row_23_blocks_of_ones_own_are_storages(
    plane: Plane, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKYARD_TASK_RUNNER", "threads")
    shelf = Shelf(folder=str(tmp_path))
    shelf.save(name)
    stored = one.with_options(result_storage=shelf, result_storage_key="r")
    assert flow(lambda: stored(4))() == [4]
    assert os.listdir(tmp_path) == ["r"]


@flow
def uses_files(name: str) -> list[Any]:
    return [uses(name), uses.submit(name).result()]


@flow
async def uses_files_in_a_loop(name: str) -> list[Any]:
    return await uses_in_a_loop(name)


def test_tasks_use_file_systems(runner: str, files: LocalFileSystem, name: str) -> None:
    import asyncio

    assert uses_files(name) == [b"1", b"1"]
    assert asyncio.run(uses_files_in_a_loop(name)) == [b"1", b"1"]


def test_remote_file_systems_are_saved_and_loaded(plane: Plane, name: str) -> None:
    made = RemoteFileSystem(basepath="s3://bucket/prefix", settings={"region": "us-east-1"})
    made.save(name)
    loaded = Block.load(f"remote-file-system/{name}")
    assert isinstance(loaded, RemoteFileSystem)
    assert (loaded.basepath, loaded.settings) == (made.basepath, made.settings)
    assert one.with_options(result_storage=loaded).result_storage == f"remote-file-system/{name}"


@pytest.fixture(scope="module")
def object_server() -> Iterator[ObjectServer]:
    yield from server_for_tests()


@pytest.mark.objects
def test_row_23_object_storage_is_one_with_what_the_block_says(
    plane: Plane, runner: str, name: str, object_server: ObjectServer, tmp_path: Path
) -> None:
    bucket = f"bucket-{uuid4().hex}"
    environment = object_server.environment()
    files = RemoteFileSystem(
        basepath=object_server.make_bucket(bucket),
        settings={
            "key": environment["AWS_ACCESS_KEY_ID"],
            "secret": environment["AWS_SECRET_ACCESS_KEY"],
            "region": environment["AWS_REGION"],
            "client_kwargs": {"endpoint_url": environment["AWS_ENDPOINT_URL"]},
            "allow_http": True,
        },
    )
    files.save(name)
    stored = one.with_options(result_storage=files, result_storage_key="results/{parameters[value]}")

    @flow
    def body() -> Any:
        return one(stored.submit(6))

    assert body() == [[6]]
    assert ResultStore(result_storage=files).read("results/6").result == [6]
    assert files.write_path("other", b"1") == f"s3://{bucket}/yard/other"
    files.get_directory(local_path=str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == ["other", "results"]
    assert files.put_directory(str(tmp_path), "again", overwrite=False) == 2
    assert files.put_directory(str(tmp_path), "again", overwrite=False) == 0
    assert files.read_path("again/other") == b"1"
    with pytest.raises(FileNotFoundError, match="nothing at s3://"):
        files.read_path("missing")


def test_blocks_of_values_are_saved_and_loaded(plane: Plane, name: str) -> None:
    at = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
    for kind, slug, value in (
        (JSON, "json", {"a": [1]}),
        (String, "string", "x"),
        (DateTime, "date-time", at),
    ):
        made: Any = kind(value=value)
        made.save(name)
        assert kind.load(name).value == value  # type: ignore[attr-defined]
        found: Any = Block.load(f"{slug}/{name}")
        assert (type(found), found.value) == (kind, value)
