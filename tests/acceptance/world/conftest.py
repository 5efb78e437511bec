"""Programs find their own world where their tasks are executed: one yard for those of a file."""

from collections.abc import Iterator
from itertools import count

import pytest
from support.programs import Stage
from support.programs import stage as open_stage
from support.projects import Project

_numbers = count(1)


@pytest.fixture(scope="module")
def yard() -> Iterator[Stage]:
    """A stage whose yard is started by the first program, and used by the others."""
    with open_stage() as opened:
        opened.environment["TASKYARD_LOG_LEVEL"] = "CRITICAL"
        yield opened


@pytest.fixture
def project(yard: Stage) -> Project:
    """An empty project, whose programs use the yard of the file."""
    return Project(yard, yard.home / f"project{next(_numbers)}")
