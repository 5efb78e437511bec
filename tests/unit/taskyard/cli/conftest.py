"""A server on a free port, and the command line called on it."""

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from support.fake_services import FakeServices, serving

from taskyard.cli.app import run


class Called(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The JSON document it printed."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        """The lines it printed."""
        return self.out.splitlines()


Call = Callable[..., Called]


@pytest.fixture
def services() -> FakeServices:
    """What the server holds."""
    return FakeServices()


@pytest.fixture
def server(services: FakeServices, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a running server, which commands find in the environment."""
    with serving(services) as address:
        monkeypatch.setenv("TASKYARD_SERVER", address)
        yield address


@pytest.fixture
def bare_call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls the command line without a server."""

    def call(*arguments: str) -> Called:
        code = run(arguments)
        captured = capsys.readouterr()
        return Called(code, captured.out, captured.err)

    return call


@pytest.fixture
def call(bare_call: Call, server: str) -> Call:
    """Calls the command line, with a server to talk to."""
    return bare_call
