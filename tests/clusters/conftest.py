"""Every test here has a server without agents: what is executed, is executed by a cluster."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.programs import Stage
from support.programs import stage as open_stage

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.clusters)


@pytest.fixture
def stage() -> Iterator[Stage]:
    with open_stage() as opened:
        opened.environment["RAY_AUTH_MODE"] = (
            "disabled"  # or each cluster has a token, which programs must find
        )
        opened.serve()
        yield opened
