"""Every test here runs on a stage of its own: separate processes, only the CLI and the SDK."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.programs import Stage
from support.programs import stage as open_stage

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.acceptance)


@pytest.fixture
def stage() -> Iterator[Stage]:
    """A directory, an environment and processes that end with the test."""
    with open_stage() as opened:
        yield opened
