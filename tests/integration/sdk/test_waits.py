"""Asking why runs wait, over a real channel: a server that cannot say it, a channel that is closed."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import grpc.aio
import pytest
from support.scripted_sessions import ScriptedServer

from taskyard._data.values.waits import waiting_for
from taskyard._engine.submission.scope import Scope
from taskyard._network.server.loop_thread import loop_thread
from taskyard._network.session.in_flight import InFlight
from taskyard._network.session.wait_asking import WaitAsking
from taskyard.futures import Future
from taskyard_contract.id_factory import new_id


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ScriptedServer]:
    """One that has sessions, and nothing else."""
    scripted = ScriptedServer(f"unix:{tmp_path}/s.sock")
    yield scripted
    scripted.close()


def in_flight_with(future: Future[int]) -> InFlight:
    state = InFlight(lambda: "", lambda: None, lambda delay, call: None)
    state.watch([future])
    return state


def test_a_server_of_an_earlier_release_is_left_alone(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> int:
        future = Future[int](new_id(), Scope())
        looks = 0

        async def sleep(seconds: float) -> None:
            nonlocal looks
            looks += 1
            if looks > 100:
                raise asyncio.CancelledError

        async with grpc.aio.insecure_channel(server.address) as channel:
            calls = 0

            def open_channel() -> grpc.aio.Channel:
                return channel

            asking = WaitAsking(in_flight_with(future), open_channel, clock=lambda: looks / 2, sleep=sleep)
            ask = asking._ask

            async def counted(*args: object) -> None:
                nonlocal calls
                calls += 1
                await ask(*args)  # type: ignore[arg-type]

            asking._ask = counted  # type: ignore[method-assign, assignment]
            with waiting_for([future], None), pytest.raises(asyncio.CancelledError):
                await asking.run()
            return calls

    assert loop_thread.run(scenario(), 30) == 1
    assert caplog.records == []


def test_a_channel_that_is_closed_meanwhile_is_no_matter(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        future = Future[int](new_id(), Scope())
        asked, closed = asyncio.Event(), asyncio.Event()

        async def stay_silent(request: object, context: object) -> bytes:
            asked.set()
            await asyncio.sleep(60)
            return b""

        class Silent(grpc.GenericRpcHandler):
            def service(self, details: object) -> object:
                return grpc.unary_unary_rpc_method_handler(stay_silent)

        silent = grpc.aio.server(handlers=[Silent()])
        address = f"unix:{tmp_path}/silent.sock"
        silent.add_insecure_port(address)
        await silent.start()
        channel = grpc.aio.insecure_channel(address)
        ticks, went_on = 0, asyncio.Event()

        async def sleep(seconds: float) -> None:
            nonlocal ticks
            ticks += 1
            if closed.is_set():
                went_on.set()
            await asyncio.sleep(0)

        asking = WaitAsking(
            in_flight_with(future),
            lambda: None if asked.is_set() else channel,
            clock=lambda: ticks / 2,
            sleep=sleep,
        )
        with waiting_for([future], None):
            task = asyncio.ensure_future(asking.run())
            await asked.wait()
            await channel.close()
            closed.set()
            await went_on.wait()
            assert not task.done()
            task.cancel()
            await asyncio.wait([task])
        await silent.stop(0)

    loop_thread.run(scenario(), 30)
    assert caplog.records == []
