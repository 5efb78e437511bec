"""A stream ends with a status, whatever happens to it."""

import asyncio
import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from support.owner_harness import World, play

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_api.v1.agent_service_pb2_grpc import AgentServiceStub
from taskyard_contract.errors import (
    Overloaded,
    StreamReplaced,
    Superseded,
    TaskyardError,
    UnknownSession,
)
from taskyard_contract.id_factory import new_id
from taskyard_contract.transport.channels import CLIENT_OPTIONS
from taskyard_contract.transport.rpc_errors import from_rpc_error
from taskyard_controlplane.rpc.directory import Directory
from taskyard_controlplane.rpc.sessions import SessionService
from taskyard_controlplane.rpc.streams import Outgoing, Places, Received
from taskyard_controlplane.settings import PeerSettings


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
        frame = self.frames.pop(0)
        return Received(frame, frame.ByteSize())

    async def write(self, frame: Any) -> None:
        self.sent.append(frame)


async def reading_nothing() -> None:
    await asyncio.Event().wait()


def nobody_left() -> None:
    """What happens when the peer is gone, in tests that do not look."""


def test_a_stream_that_cannot_send_ends() -> None:
    async def main() -> None:
        outgoing = Outgoing(Context())

        def broken() -> Any:
            raise ValueError("too large")

        outgoing.wake()
        with pytest.raises(ValueError, match="too large"):
            await outgoing.serve(reading_nothing(), nobody_left, sp.SessionFrame(), broken, nobody_left)

    asyncio.run(asyncio.wait_for(main(), 20))


def test_a_stream_that_is_closed_during_a_write_ends_behind_it_and_with_the_first_reason() -> None:
    async def main() -> None:
        writing, written, left = asyncio.Event(), asyncio.Event(), asyncio.Event()

        class Slow(Context):
            async def write(self, frame: Any) -> None:
                writing.set()
                await written.wait()
                self.sent.append(frame)

        context = Slow()
        outgoing = Outgoing(context)
        serving = asyncio.create_task(
            outgoing.serve(
                reading_nothing(), left.set, sp.SessionFrame(), lambda: sp.SessionFrame(), nobody_left
            )
        )
        await writing.wait()
        outgoing.close(Superseded("first"))
        outgoing.close(UnknownSession("second"))
        await left.wait()  # nothing is read any more, whatever becomes of the write
        assert not serving.done()
        written.set()
        with pytest.raises(Superseded, match="first"):
            await serving
        assert len(context.sent) == 1

    asyncio.run(asyncio.wait_for(main(), 20))


def test_a_stream_that_is_closed_before_its_welcome_says_only_why() -> None:
    async def main() -> None:
        context = Context()
        outgoing = Outgoing(context)
        outgoing.close(Superseded("at once"))
        left = asyncio.Event()
        with pytest.raises(Superseded):
            await outgoing.serve(reading_nothing(), left.set, sp.SessionFrame(), lambda: None, nobody_left)
        assert not context.sent
        await asyncio.wait_for(left.wait(), 10)

    asyncio.run(asyncio.wait_for(main(), 20))


def test_what_an_older_stream_hears_is_that_it_was_replaced() -> None:
    async def scenario(it: World) -> None:
        first = it.agent("same")
        heard: list[TaskyardError] = []
        first.agent.close = heard.append
        it.agent("same", session_id=first.session_id)
        assert isinstance(heard[0], StreamReplaced)  # and a stream says what it was told first

    play(scenario)


@pytest.mark.parametrize("streams", [40])
def test_of_many_streams_of_one_agent_all_but_the_last_are_told(served: Any, streams: int) -> None:
    """They come at once, so that most are superseded while they are being welcomed."""

    async def one(channel: Any, session_id: bytes) -> grpc.StatusCode:
        hello = ap.AgentHello(
            protocol_min=2, protocol_max=2, agent_id=session_id.hex(), session_id=session_id, queues=["same"]
        )
        call = AgentServiceStub(channel).Connect(timeout=30)
        try:
            await call.write(ap.AgentFrame(hello=hello))
            while await call.read() is not grpc.aio.EOF:
                pass
        except (grpc.RpcError, asyncio.InvalidStateError):
            pass
        return await call.code()

    async def a_round(channels: list[Any], session_id: bytes) -> None:
        calls = {asyncio.ensure_future(one(channels[at % 8], session_id)) for at in range(streams)}
        survivors = calls
        while len(survivors) > 1:
            done, survivors = await asyncio.wait(survivors, timeout=25, return_when=asyncio.FIRST_COMPLETED)
            assert done, f"{len(survivors) - 1} streams were not told"
            assert {call.result() for call in done} == {grpc.StatusCode.ABORTED}
        for survivor in survivors:
            survivor.cancel()
        await asyncio.wait(survivors)

    async def main() -> None:
        channels = [grpc.aio.insecure_channel(served.plane.address, CLIENT_OPTIONS) for _ in range(8)]
        for _ in range(20):
            await a_round(channels, new_id())
        await asyncio.gather(*(channel.close() for channel in channels))

    asyncio.run(main())


@pytest.mark.parametrize("service", ["sessions", "agents"])
def test_a_stream_without_a_first_frame_ends(serve: Callable[..., Any], service: str) -> None:
    served = serve(peers=PeerSettings(first_frame_seconds=0.05))
    silence = threading.Event()
    answers = getattr(served, service).Connect(iter(silence.wait, None), timeout=20)
    with pytest.raises(grpc.RpcError) as caught:
        next(answers)
    silence.set()
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert "within 0.05 seconds" in str(caught.value.details())


def welcomed(served: Any) -> Any:
    """Open the stream of a session and return it once it is welcomed."""
    hello = sp.SessionHello(protocol_min=2, protocol_max=2, session_id=new_id())
    stay = iter(threading.Event().wait, None)
    call = served.sessions.Connect(itertools.chain([sp.ClientFrame(hello=hello)], stay), timeout=30)
    assert next(call).HasField("welcome")
    return call


def test_one_address_has_so_many_streams_and_gets_room_when_one_ends(serve: Callable[..., Any]) -> None:
    served = serve(peers=PeerSettings(max_streams_per_address=1))
    first = welcomed(served)
    with pytest.raises(grpc.RpcError) as caught:
        welcomed(served)
    error = from_rpc_error(caught.value)  # type: ignore[arg-type]  # a call that failed has all of it
    assert isinstance(error, Overloaded)
    assert "1 streams from ipv4:127.0.0.1" in str(error)
    first.cancel()
    deadline = time.monotonic() + 20
    while True:
        try:
            welcomed(served).cancel()
            return
        except grpc.RpcError:
            assert time.monotonic() < deadline


def test_places_are_given_back_and_counted_in_all() -> None:
    places = Places("calls", most=2, per_address=5)
    full = pytest.raises(Overloaded, match="has 2 calls already")
    with places.take("ipv4:10.0.0.1:5"), places.take("ipv6:[::1]:7"), full, places.take("unix:"):
        pytest.fail("there was room")
    with places.take("unix:"):
        pass


def test_a_stream_that_is_superseded_while_it_asks_the_database_ends_with_a_status() -> None:
    async def scenario(it: World) -> None:
        session_id = new_id()
        hello = sp.SessionHello(protocol_min=2, protocol_max=2, session_id=session_id, client_name="c")
        context = Context(sp.ClientFrame(hello=hello), sp.ClientFrame(subscribe=[new_id()]))
        asked, answer = asyncio.Event(), asyncio.Event()

        async def slow(run_ids: list[bytes]) -> Any:
            asked.set()
            await answer.wait()
            return []

        it.shard.stored.heads = slow
        directory = Directory()
        directory.note(it.owner)
        service = SessionService(directory, PeerSettings(), Places("streams", most=1, per_address=1))
        serving = asyncio.ensure_future(service.Connect(None, context))  # type: ignore[arg-type]
        await asked.wait()
        it.client(session_id)  # a newer stream
        await asyncio.wait([serving], timeout=1)
        assert serving.done()
        assert not serving.cancelled()
        assert isinstance(serving.exception(), TaskyardError)

    play(scenario)
