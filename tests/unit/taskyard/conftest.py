"""An engine without a network."""

from collections.abc import Iterator

import pytest
from support.loopback import LoopbackSession

from taskyard._engine.execution.coroutines import close_runner
from taskyard._engine.submission import scope as scopes


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackSession]:
    """A session whose control plane is scripted; calls outside of flows go to it as well."""
    loopback = LoopbackSession()
    monkeypatch.setattr(scopes, "_outside", loopback.scope())
    yield loopback
    loopback.script.close()
    close_runner()
