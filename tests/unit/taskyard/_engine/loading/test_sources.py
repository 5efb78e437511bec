"""Where the code of flows comes from."""

import asyncio
import inspect
import os
from pathlib import Path
from typing import Any

import pytest

from taskyard._engine.loading import sources
from taskyard.exceptions import ConfigurationError
from taskyard.flows import Flow, flow

TEXT = "from taskyard import flow\n\n@flow\ndef main(): return {value}\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "my project"
    folder.mkdir()
    (folder / "etl.py").write_text(TEXT.format(value=1))
    return folder


def test_row_60_a_directory_by_path_text_and_url(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.parent)
    monkeypatch.setenv("HOME", str(project.parent))
    url = "file://" + str(project).replace(" ", "%20")
    for source in (project, str(project), "my project", "./my project", "~/my project", url):
        loaded = Flow.from_source(source, "etl.py:main")
        assert loaded.fn() == 1
        assert loaded.fn.__code__.co_filename == os.path.realpath(project / "etl.py")


def test_row_60_where_a_loop_runs_a_source_is_awaited(project: Path) -> None:
    async def program() -> Any:
        waiting = flow.from_source(project, "etl.py:main")  # type: ignore[attr-defined]
        assert inspect.isawaitable(waiting)
        return await waiting, await Flow.afrom_source(project, "etl.py:main")

    assert [one.name for one in asyncio.run(program())] == ["main", "main"]


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("https://user:s3cret@github.com/team/etl.git?token=s3cret", "https://github.com "),
        ("git@github.com:team/etl.git", "ssh://github.com "),
        ("s3://bucket/etl", "s3://bucket "),
    ],
)
def test_a_url_is_refused_with_what_is_missing_and_without_secrets(source: str, shown: str) -> None:
    with pytest.raises(ConfigurationError, match="has no storage that fetches from URLs; clone") as caught:
        Flow.from_source(source, "etl.py:main")
    assert f"cannot be loaded from {shown}" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_what_is_no_source_is_refused(project: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"must be a directory, and '.*nowhere' is none"):
        Flow.from_source(project / "nowhere", "etl.py:main")
    with pytest.raises(FileNotFoundError, match=r"must be a directory, and '.*etl.py' is none"):
        Flow.from_source(project / "etl.py", "etl.py:main")
    with pytest.raises(TypeError, match=r"Unsupported source type 'int'. Please provide"):
        Flow.from_source(5, "etl.py:main")


class Storage:
    """Fetches code; told where to, or not."""

    def __init__(self, destination: Path) -> None:
        self.destination = destination
        self.pulled = 0

    def pull_code(self) -> None:
        self.pulled += 1
        self.destination.mkdir(exist_ok=True)
        (self.destination / "etl.py").write_text(TEXT.format(value=2))


class Told(Storage):
    def set_base_path(self, path: Path) -> None:
        self.destination = path / "code"


def test_row_60_a_storage_object_fetches_into_a_place_of_its_own(tmp_path: Path) -> None:
    storage = Storage(tmp_path / "own")
    assert Flow.from_source(storage, "etl.py:main").fn() == 2
    assert (storage.pulled, storage.destination) == (1, tmp_path / "own")


def test_row_60_a_storage_object_fetches_into_a_place_that_lasts_as_long_as_the_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sources, "_fetched", [])
    storage = Told(Path("nowhere"))
    assert Flow.from_source(storage, "etl.py:main").fn() == 2
    assert (storage.destination / "etl.py").exists()
    [(process, place)] = sources._fetched
    sources._fetched[:] = [(process + 1, place)]
    sources._remove_fetched()  # as in a fork
    assert storage.destination.exists()
    sources._fetched[:] = [(process, place)]
    sources._remove_fetched()
    assert not Path(place).exists()
