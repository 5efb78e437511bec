"""What every unary call to a control plane needs: a channel, a deadline, and errors of our own.

Invariant: everything that fails raises a `TaskyardError`; nothing of gRPC reaches callers.
"""

from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, cast

from taskyard._network.server.loop_thread import loop_thread
from taskyard_contract.errors import ConnectionFailed, TaskyardError
from taskyard_contract.transport.channels import CLIENT_OPTIONS, target_of
from taskyard_contract.transport.repeating import repeated

if TYPE_CHECKING:
    import grpc.aio

    from taskyard_api.v1.admin_service_pb2_grpc import AdminServiceAsyncStub
    from taskyard_api.v1.blob_service_pb2_grpc import BlobServiceAsyncStub
    from taskyard_api.v1.cache_service_pb2_grpc import CacheServiceAsyncStub
    from taskyard_api.v1.run_service_pb2_grpc import RunServiceAsyncStub

T = TypeVar("T")

CALL_SECONDS: Final = 30.0
"""Longer than a control plane takes to be replaced by another one."""


def open_channel(address: str) -> "grpc.aio.Channel":
    """Open a channel. Must be called on the loop thread."""
    import grpc.aio

    return grpc.aio.insecure_channel(target_of(address), options=CLIENT_OPTIONS)


class Calling:
    """A connection to one control plane. Use as a context manager, or `close` it."""

    def __init__(self, address: str, seconds: float = CALL_SECONDS, *, patient: bool = False) -> None:
        """Prepare calls; connects with the first one.

        Args:
            address: ``HOST:PORT`` or ``unix:PATH``.
            seconds: How long each of them may take.
            patient: Whether they are repeated while the control plane is being replaced. People who ask
                something want to know at once that nobody answers; programs want to go on.
        """
        self.address = address
        self._seconds = seconds
        self._patient = patient
        self._channel: grpc.aio.Channel | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; a further call would open another one."""
        channel, self._channel = self._channel, None
        if channel is not None:
            loop_thread.run(channel.close(), CALL_SECONDS)

    def _open(self) -> "grpc.aio.Channel":
        if self._channel is None:
            self._channel = open_channel(self.address)
        return self._channel

    def _runs(self) -> "RunServiceAsyncStub":
        from taskyard_api.v1.run_service_pb2_grpc import RunServiceStub

        return cast("RunServiceAsyncStub", RunServiceStub(self._open()))

    def _admin(self) -> "AdminServiceAsyncStub":
        from taskyard_api.v1.admin_service_pb2_grpc import AdminServiceStub

        return cast("AdminServiceAsyncStub", AdminServiceStub(self._open()))

    def _cache(self) -> "CacheServiceAsyncStub":
        from taskyard_api.v1.cache_service_pb2_grpc import CacheServiceStub

        return cast("CacheServiceAsyncStub", CacheServiceStub(self._open()))

    def _blobs(self) -> "BlobServiceAsyncStub":
        from taskyard_api.v1.blob_service_pb2_grpc import BlobServiceStub

        return cast("BlobServiceAsyncStub", BlobServiceStub(self._open()))

    def _work(self, start: Callable[[], Awaitable[T]]) -> Coroutine[Any, Any, T]:
        """Return what makes a call, as often as it takes if the client is patient."""
        return repeated(start) if self._patient else self._once(start)

    @staticmethod
    async def _once(start: Callable[[], Awaitable[T]]) -> T:
        return await start()

    def _call(self, start: Callable[[], Awaitable[T]], seconds: float | None = None) -> T:
        """Make a call on the loop thread and wait for its answer, at most so long if that is said."""
        try:
            return loop_thread.run(translated(self._work(start)), seconds)
        except TimeoutError:
            raise ConnectionFailed(f"the control plane did not answer within {seconds} seconds") from None


async def translated(work: Coroutine[Any, Any, T]) -> T:
    """Run a call and turn what gRPC raises into a `TaskyardError`."""
    import asyncio

    import grpc.aio

    from taskyard_contract.transport.rpc_errors import from_rpc_error

    try:
        return await work
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise  # whoever waited has gone
        raise ConnectionFailed("the connection was closed while an answer was waited for") from None
    except grpc.aio.AioRpcError as error:
        failure = from_rpc_error(error)
    except TaskyardError as error:
        failure = error
    if isinstance(failure, ConnectionFailed):
        failure.args = (f"{failure}; is a server running at this address?",)
    raise failure from None
