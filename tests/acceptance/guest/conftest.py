"""Programs that are right without Taskyard stay right with it: one yard for those of a file."""

from collections.abc import Iterator

import pytest
from support.programs import Stage
from support.programs import stage as open_stage


@pytest.fixture(scope="module")
def yard() -> Iterator[Stage]:
    """A stage whose yard is started by the first program, and used by the others."""
    with open_stage() as opened:
        yield opened


@pytest.fixture(params=["agents", "threads"])
def runner(request: pytest.FixtureRequest, yard: Stage) -> Iterator[str]:
    """Who executes the tasks of the programs; both have to do the same."""
    yard.environment["TASKYARD_TASK_RUNNER"] = request.param
    yield request.param
    del yard.environment["TASKYARD_TASK_RUNNER"]
