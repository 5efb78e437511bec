"""Which database a URL means, and what importing the package costs."""

import subprocess
import sys

import pytest

from taskyard_controlplane.storage import create_store
from taskyard_controlplane.storage.engine import parse_url


def test_a_path_may_be_absolute_or_relative(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(str(tmp_path))
    assert str(parse_url("sqlite:////var/lib/x.db").path) == "/var/lib/x.db"
    assert str(parse_url("sqlite:///x.db").path) == f"{tmp_path}/x.db"


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_a_database_without_a_path_is_in_memory(url: str) -> None:
    target = parse_url(url)
    assert (target.dialect, target.path, target.memory) == ("sqlite", None, "main")


def test_databases_in_memory_can_be_named_apart() -> None:
    assert parse_url("sqlite://?name=other").memory == "other"


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_every_spelling_of_postgresql_uses_psycopg(scheme: str) -> None:
    target = parse_url(f"{scheme}://u@h/d")
    assert (target.dialect, target.url.drivername) == ("postgresql", "postgresql+psycopg")


@pytest.mark.parametrize("url", ["", "taskyard.db", "mysql://h/d", "postgresql+asyncpg://h/d"])
def test_other_urls_are_refused_with_advice(url: str) -> None:
    with pytest.raises(ValueError, match="use sqlite:///PATH"):
        parse_url(url)


def test_a_refused_url_does_not_show_its_password() -> None:
    with pytest.raises(ValueError, match="not supported") as caught:
        parse_url("mysql://user:secret@h/d")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:s3cret@[bad/x",
        "postgresql://me@host:s3cret/x",  # no port
        "postgresql://me:s3cret@host/x?surprise=s3cret",  # psycopg knows no such parameter
        "sqlite://me:s3cret@host/x",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_in_one_line_without_its_secrets(url: str) -> None:
    with pytest.raises(ValueError, match=r"host|database") as caught:
        create_store(url)
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_psycopg_a_postgresql_url_is_refused_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ValueError, match=r"pip install 'taskyard\[postgres\]'"):
        create_store("postgresql://me@host/x")


def _imported_by(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_package_and_its_interface_import_nothing_heavy() -> None:
    modules = _imported_by("import taskyard_controlplane.storage.interface")
    assert not modules & {"sqlalchemy", "alembic", "psycopg", "sqlite3"}


def test_a_first_start_on_sqlite_imports_neither_alembic_nor_psycopg() -> None:
    modules = _imported_by(
        "from taskyard_controlplane.storage import create_reader, create_store\n"
        "store = create_store('sqlite://')\nstore.open()\ncreate_reader('sqlite://').close()\nstore.close()"
    )
    assert "sqlalchemy" in modules
    assert not modules & {"alembic", "psycopg"}
