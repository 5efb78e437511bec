"""A stream ends with a status, whatever happens to it."""

import asyncio
from typing import Any

import pytest
from support.owner_harness import World, play

from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_contract.errors import TaskyardError
from taskyard_contract.id_factory import new_id
from taskyard_controlplane.rpc.directory import Directory
from taskyard_controlplane.rpc.sessions import SessionService
from taskyard_controlplane.rpc.streams import Outgoing


class Context:
    """A stream's context, as far as it is used."""

    def __init__(self, *frames: Any) -> None:
        self.frames = list(frames)
        self.sent: list[Any] = []

    def peer(self) -> str:
        return "ipv4:127.0.0.1:5"

    async def read(self) -> Any:
        if not self.frames:
            await asyncio.Event().wait()
        return self.frames.pop(0)

    async def write(self, frame: Any) -> None:
        self.sent.append(frame)


def test_a_stream_that_cannot_send_ends() -> None:
    async def main() -> None:
        outgoing = Outgoing(Context())

        def broken() -> Any:
            raise ValueError("too large")

        outgoing.start(broken)
        try:
            await outgoing.read()
        except asyncio.CancelledError:
            with pytest.raises(ValueError, match="too large"):
                outgoing.raise_if_closed()
            return
        pytest.fail("the stream went on")

    asyncio.run(main())


def test_a_stream_that_is_superseded_while_it_asks_the_database_ends_with_a_status() -> None:
    async def scenario(it: World) -> None:
        session_id = new_id()
        hello = sp.SessionHello(protocol_min=1, protocol_max=1, session_id=session_id, client_name="c")
        context = Context(sp.ClientFrame(hello=hello), sp.ClientFrame(subscribe=[new_id()]))
        asked, answer = asyncio.Event(), asyncio.Event()

        async def slow(run_ids: list[bytes]) -> Any:
            asked.set()
            await answer.wait()
            return []

        it.shard.stored.rows = slow
        directory = Directory()
        directory.note(it.owner)
        serving = asyncio.ensure_future(SessionService(directory).Connect(None, context))  # type: ignore[arg-type]
        await asked.wait()
        it.client(session_id)  # a newer stream
        await asyncio.wait([serving], timeout=1)
        assert serving.done()
        assert not serving.cancelled()
        assert isinstance(serving.exception(), TaskyardError)

    play(scenario)
