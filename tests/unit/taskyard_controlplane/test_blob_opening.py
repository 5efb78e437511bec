"""Where blobs are when nobody says, and whose they are."""

import errno
from pathlib import Path

import pytest

from taskyard_contract.blobs.giving_way import show_log, shown_log
from taskyard_contract.errors import StorageUnavailable
from taskyard_contract.programs.home_directory import HOME
from taskyard_controlplane import blob_opening
from taskyard_controlplane.blob_opening import open_blob_store
from taskyard_controlplane.blobs.stamps import OtherDatabase
from taskyard_controlplane.settings import DatabaseSettings, InvalidSettings, Settings


def opened(tmp_path: Path, database: str, database_id: str = "a" * 32, blobs: str = "") -> Path:
    def temporary() -> Path:
        path = tmp_path / "temporary"
        path.mkdir()
        return path

    store = open_blob_store(Settings(DatabaseSettings(database), blobs=blobs), database_id, temporary)
    assert store.directory is not None
    return Path(store.directory.path)


def test_beside_an_sqlite_database(tmp_path: Path) -> None:
    assert opened(tmp_path, f"sqlite:///{tmp_path}/my.runs.db") == tmp_path / "my.runs-blobs"


def test_a_database_that_was_begun_anew_does_not_get_the_blobs_of_the_former(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"sqlite:///{tmp_path}/runs.db"
    first = opened(tmp_path, url)
    second = opened(tmp_path, url, "b" * 32)
    assert second == tmp_path / f"runs-blobs-{'b' * 16}"
    assert "another database" in caplog.text
    assert opened(tmp_path, url, "b" * 32) == second
    assert opened(tmp_path, url) == first


def test_of_a_database_in_memory_where_it_ends_with_the_process(tmp_path: Path) -> None:
    assert opened(tmp_path, "sqlite://") == tmp_path / "temporary"


def test_of_a_server_in_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME, str(tmp_path / "home"))
    found = opened(tmp_path, "postgresql://me@db/taskyard")
    assert found == tmp_path / "home" / f"blobs-{'a' * 16}"


def test_where_somebody_says(tmp_path: Path) -> None:
    place = tmp_path / "else"
    assert opened(tmp_path, f"sqlite:///{tmp_path}/runs.db", blobs=str(place)) == place
    with pytest.raises(OtherDatabase, match="--blobs"):
        opened(tmp_path, f"sqlite:///{tmp_path}/other.db", "b" * 32, str(place))


def test_databases_in_memory_may_have_the_same_place_one_after_the_other(tmp_path: Path) -> None:
    for database_id in ("a" * 32, "b" * 32):
        assert opened(tmp_path, "sqlite://", database_id, str(tmp_path / "else")) == tmp_path / "else"


def test_what_cannot_be_a_directory_is_said_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageUnavailable, match=r"cannot be used: .*--blobs"):
        opened(tmp_path, f"sqlite:///{tmp_path}/runs.db", blobs=str(tmp_path / "file" / "blobs"))


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/x",
        "s3://",
        "s3://key:s3cret@bucket/x",
        "s3://bucket/x?token=s3cret",
        "file://host/x",
        "c:x",
    ],
)
def test_what_is_no_place_is_refused_without_its_secrets(url: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        Settings(DatabaseSettings("sqlite://"), blobs=url)
    assert "s3cret" not in str(caught.value)


def test_who_sees_the_directory_knows_the_log_of_the_database_it_is_for(tmp_path: Path) -> None:
    place = opened(tmp_path, f"sqlite:///{tmp_path}/runs.db", blobs=str(tmp_path / "else"))
    assert shown_log(place) == tmp_path / "runs.db-wal"


@pytest.mark.parametrize("database", ["sqlite://", "postgresql://me@db/taskyard"])
def test_of_a_database_that_has_no_log_here_none_is_known(tmp_path: Path, database: str) -> None:
    place = tmp_path / "else"
    place.mkdir()
    show_log(place, tmp_path / "former.db-wal")
    opened(tmp_path, database, blobs=str(place))
    assert shown_log(place) is None


def test_where_the_log_cannot_be_noted_blobs_are_stored_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(blob_opening, "show_log", refuse)
    assert shown_log(opened(tmp_path, f"sqlite:///{tmp_path}/runs.db")) is None
