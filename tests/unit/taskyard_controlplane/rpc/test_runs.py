"""Calls that wait for runs, when the server is told to stop."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from taskyard_contract.errors import ServerStopping
from taskyard_contract.id_factory import new_id
from taskyard_controlplane.rpc.runs import RunService
from taskyard_controlplane.settings import PeerSettings, RpcSettings


@pytest.mark.parametrize("seconds", [0.0, 3600.0], ids=["ending just now", "under way"])
def test_waits_end_when_the_server_stops(seconds: float) -> None:
    async def main() -> None:
        waiting = asyncio.Event()

        async def wait_ended(run_id: bytes) -> None:
            waiting.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if not seconds:
                    service.begin_stop()  # in the moment in which the time of the wait is over
                raise

        directory: Any = SimpleNamespace(owner=lambda: SimpleNamespace(wait_ended=wait_ended))
        nothing: Any = SimpleNamespace()
        service = RunService(directory, nothing, nothing, RpcSettings(), PeerSettings(), nothing, nothing)
        call = asyncio.create_task(service._wait(new_id(), seconds))
        await waiting.wait()
        if seconds:
            service.begin_stop()
        with pytest.raises(ServerStopping):
            await call

    asyncio.run(main())
