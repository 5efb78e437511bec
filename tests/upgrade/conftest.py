"""Two releases side by side: the last one, in an environment of its own, and this one."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.postgres import PostgresServer
from support.programs import Stage
from support.programs import stage as open_stage

HERE = Path(__file__).parent
FORMER = HERE.parents[1] / ".venv-former" / "bin"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.upgrade)


@pytest.fixture
def former() -> Iterator[Stage]:
    """A stage whose programs are those of the last release."""
    if not (FORMER / "taskyard").exists():
        pytest.fail("the last release is not installed beside this one; 'make upgrade' does that")
    with open_stage(FORMER) as opened:
        yield opened


@pytest.fixture
def present() -> Iterator[Stage]:
    """A stage whose programs are those of this checkout."""
    with open_stage() as opened:
        yield opened


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without any tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/runs.db"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    with server.database(empty=True) as url:
        yield url
