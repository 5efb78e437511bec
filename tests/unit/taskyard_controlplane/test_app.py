"""How a server ends."""

import asyncio

import pytest

from taskyard_controlplane import app
from taskyard_controlplane.settings import DatabaseSettings, Settings


def test_an_orderly_stop_has_no_limit_of_a_failed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        plane = app.ControlPlane(Settings(DatabaseSettings("sqlite://")))
        stopping = asyncio.Event()
        stopping.set()
        await app.first_of(stopping.wait(), plane.failed)
        stopped = []

        async def stop() -> None:
            await asyncio.sleep(0.1)
            stopped.append(True)

        plane.stop = stop  # type: ignore[method-assign]
        monkeypatch.setattr(app, "FAILED_STOP_SECONDS", 0.01)
        await app.stop_in_order(plane)
        assert stopped

    asyncio.run(main())
