"""A real control plane and a real agent, as processes of their own."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from support.processes import Installation, installation

from taskyard_contract.transport.channels import CLIENT_OPTIONS


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation that all tests of a module misuse, and that must survive it."""
    folder = tmp_path_factory.mktemp("lasting")
    with installation(folder, f"sqlite:///{folder / 'taskyard.db'}") as lasting:
        lasting.start_server("--max-payload-bytes", "10000000")
        lasting.start_agent()
        yield lasting


@pytest.fixture
def channel(lasting: Installation) -> Iterator[grpc.Channel]:
    """A client of any language."""
    with grpc.insecure_channel(lasting.address, options=CLIENT_OPTIONS) as channel:
        yield channel


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Installation]:
    """An installation of the test's own, with nothing running yet."""
    with installation(
        tmp_path, f"sqlite:///{tmp_path / 'taskyard.db'}", agent_lease=2, session_lease=2
    ) as own:
        yield own
