"""What the server says at the end of a call is known, also when gRPC forgets it."""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc import aio

from taskyard_contract.transport.call_ending import CallEnding

METHOD = "/kit.Service/Connect"
MOST_CALLS = 200
"""Until gRPC has forgotten a status: it does so in most of them."""


@pytest.fixture
def refusing() -> Iterator[str]:
    """The address of a server that lets nobody in, whatever it is told."""

    def refuse(_: object, context: grpc.ServicerContext) -> None:
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "no credentials")

    handler = grpc.stream_stream_rpc_method_handler(refuse)
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("kit.Service", {"Connect": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


def _serialized_late(message: bytes) -> bytes:
    time.sleep(0.02)  # the end of the call arrives meanwhile, and the loop cannot take it in
    return message


async def _refused(address: str) -> tuple[aio.AioRpcError, aio.AioRpcError]:
    """Return what writing, or else reading, has raised, and the cause of it."""
    async with aio.insecure_channel(address) as channel:
        call = channel.stream_stream(METHOD, request_serializer=_serialized_late)()
        ending = CallEnding(call)
        try:
            await call.write(b"hello")
            await call.read()
        except aio.AioRpcError as error:
            return error, await ending.cause_of(error)
        raise AssertionError("the call was let in")


def test_the_status_is_known_of_a_call_that_ends_while_it_is_written_to(refusing: str) -> None:
    async def main() -> bool:
        for _ in range(MOST_CALLS):
            raised, cause = await _refused(refusing)
            assert (cause.code(), cause.details()) == (grpc.StatusCode.UNAUTHENTICATED, "no credentials")
            if raised.code() is grpc.StatusCode.INTERNAL:
                return True
        return False

    assert asyncio.run(main()), "gRPC has forgotten no status: there is nothing to listen for any more"


class Call:
    """A call that is told of its end by the test."""

    def __init__(self) -> None:
        self.status = grpc.StatusCode.OK, ""

    def add_done_callback(self, callback: object) -> None:
        self.callback = callback

    def ends(self, code: grpc.StatusCode, details: str) -> aio.AioRpcError:
        self.status = code, details
        self.callback(self)  # type: ignore[operator]
        return aio.AioRpcError(code, aio.Metadata(), aio.Metadata(), details)

    async def code(self) -> grpc.StatusCode:
        return self.status[0]

    async def details(self) -> str:
        return self.status[1]

    async def initial_metadata(self) -> aio.Metadata:
        return aio.Metadata()

    trailing_metadata = initial_metadata


FORGOTTEN = grpc.StatusCode.INTERNAL, "Internal error from Core"


def test_a_status_that_comes_after_the_error_is_waited_for() -> None:
    async def main() -> grpc.StatusCode:
        call = Call()
        ending = CallEnding(call)  # type: ignore[arg-type]
        error = call.ends(*FORGOTTEN)
        waiting = asyncio.ensure_future(ending.cause_of(error))
        await asyncio.sleep(0)
        assert not waiting.done()
        call.ends(grpc.StatusCode.UNAUTHENTICATED, "no credentials")
        return (await waiting).code()

    assert asyncio.run(main()) is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize(
    "status", [(grpc.StatusCode.UNAVAILABLE, "connection lost"), (grpc.StatusCode.INTERNAL, "of the server")]
)
def test_other_errors_are_their_own_cause(status: tuple[grpc.StatusCode, str]) -> None:
    async def main() -> bool:
        call = Call()
        ending = CallEnding(call)  # type: ignore[arg-type]
        error = call.ends(*status)
        return await ending.cause_of(error) is error

    assert asyncio.run(main())
