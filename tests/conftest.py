"""What every test runs under: a home to throw away, no settings of the developer's, PostgreSQL when asked."""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator

import pytest
from support.postgres import PostgresServer, running_server
from support.signals import hear_interrupts

from taskyard_contract.programs.home_directory import HOME


def _settings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("TASKYARD_")}


def pytest_configure() -> None:
    """Forget TASKYARD_* before any module under test can read it, and hear Ctrl-C whoever started this.

    What a test starts without a home of its own finds one that is thrown away: nothing is left in the
    developer's, and test processes that run side by side do not meet there.
    """
    hear_interrupts()
    for name in _settings():
        del os.environ[name]
    os.environ[HOME] = tempfile.mkdtemp(prefix="taskyard-")
    # Tests import gRPC before the SDK can say so: what it does by itself after a fork crashes the child.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")


def pytest_unconfigure() -> None:
    """Remove the home of this process."""
    shutil.rmtree(os.environ[HOME], ignore_errors=True)


@pytest.fixture(autouse=True)
def _no_settings_leak() -> Iterator[None]:
    """Undo what a test, or code it called, did to TASKYARD_*."""
    before = _settings()
    yield
    for name in _settings():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(autouse=True)
def _no_logging_leaks() -> Iterator[None]:
    """Undo what a test, or code it called, did to loggers: later tests read what is logged."""
    ours = logging.getLogger("taskyard")
    before = ours.handlers[:], ours.propagate, ours.level
    ours.propagate = True  # or pytest listens here as well, and a test that has it propagate hears all twice
    yield
    ours.handlers[:], ours.propagate = before[0], before[1]
    ours.setLevel(before[2])
    for logger in logging.Logger.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.disabled = False


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One PostgreSQL server for the session, started by the first test that needs it."""
    with running_server() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """The URL of a database with Taskyard's tables and nothing in them."""
    with postgres.database() as url:
        yield url
