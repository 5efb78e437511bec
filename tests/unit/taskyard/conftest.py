"""An engine without a network."""

from collections.abc import Iterator

import pytest
from support.loopback import LoopbackSession

from taskyard import _scope
from taskyard._body import close_runner


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackSession]:
    """A session whose control plane is scripted; calls outside of flows go to it as well."""
    loopback = LoopbackSession()
    monkeypatch.setattr(_scope, "_outside", loopback.scope())
    yield loopback
    loopback.script.close()
    close_runner()
