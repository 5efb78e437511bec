"""Blobs past the control plane, where it grants that: to the process that serves its store, or a provider.

Everything here may fail, and then says that it did not do it: the caller sends or reads the blob by the
control plane (`blob_transfer`), which also knows what a failure means, as of a blob that is not there. So the
worst that a network, a proxy or a wrong setting can do is to cost time, and who cannot be reached is not
tried again for a minute.

Every attempt asks for a grant; what a server says of a grant that has expired is taken for that once.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Final

import grpc
from grpc import aio

from taskyard_api.v1 import blob_service_pb2 as pb
from taskyard_api.v1 import common_pb2
from taskyard_contract.blobs.names import name_of
from taskyard_contract.transport.blob_transfer import DIRECT_BYTES
from taskyard_contract.transport.direct_fetch import Fetching, Target
from taskyard_contract.transport.direct_store import Source, Storing
from taskyard_contract.transport.http_requests import (
    Broken,
    Busy,
    Elsewhere,
    Expired,
    HttpFailure,
    Unusable,
    Where,
    where_of,
)
from taskyard_contract.transport.repeating import FIRST_DELAYS, PATIENCE_SECONDS

if TYPE_CHECKING:
    from taskyard_api.v1.blob_service_pb2_grpc import BlobServiceAsyncStub

logger = logging.getLogger(__name__)

MOST_AT_ONCE: Final = 4
"""Of one direction. More would only have each of them come later."""
LEFT_ALONE_SECONDS: Final = 60.0
UNKNOWN_SECONDS: Final = 600.0
"""So long a control plane is not asked again that does not know grants: it is older, until it is updated."""
ASKING_SECONDS: Final = 30.0
_FAILING: Final = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN})

Run = Callable[[Where], None]


class DirectTransfers:
    """The ways past one control plane, and what is known of them. Of one event loop."""

    def __init__(
        self,
        address: Callable[[], str],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Know nothing yet; `address` is where the control plane is reached."""
        self._address = address
        self._clock = clock
        self._sleep = sleep
        self._left: dict[str, float] = {}
        self._unknown_until = float("-inf")
        self._reading = asyncio.Semaphore(MOST_AT_ONCE)
        self._writing = asyncio.Semaphore(MOST_AT_ONCE)

    async def fetch(self, stub: "BlobServiceAsyncStub", ref: common_pb2.BlobRef, target: Target) -> bool:
        """Read a blob into a target; says whether it is there. If not, the target may have some of it.

        Raises:
            OSError: The target does not take it.
            AioRpcError: The control plane cannot be asked.
        """
        if not self._is_worth(ref):
            return False
        asked = pb.GrantTransfersRequest(reads=[ref])
        fetching = Fetching(ref, target)
        async with self._reading:
            return await self._moved(stub, asked, fetching, lambda _: fetching.run) is not None

    async def store(self, stub: "BlobServiceAsyncStub", ref: common_pb2.BlobRef, source: Source) -> bool:
        """Store what a source has; says whether it is stored.

        Raises:
            DigestMismatch: It is not what it is said to be.
            OSError: The source cannot be read.
            AioRpcError: The control plane cannot be asked.
        """
        if not self._is_worth(ref):
            return False
        asked = pb.GrantTransfersRequest(writes=[ref])
        storing = Storing(ref, source)
        async with self._writing:
            grant = await self._moved(
                stub, asked, storing, lambda grant: partial(storing.run, is_checked=not grant.confirm)
            )
            if grant is None or not grant.confirm:
                return grant is not None
        told = pb.FindMissingBlobsRequest(names=[name_of(ref)])
        found = await stub.FindMissingBlobs(told, timeout=ASKING_SECONDS)
        return not found.missing_names

    def _is_worth(self, ref: common_pb2.BlobRef) -> bool:
        return ref.size >= DIRECT_BYTES and self._clock() >= self._unknown_until

    async def _granted(
        self, stub: "BlobServiceAsyncStub", request: pb.GrantTransfersRequest
    ) -> pb.TransferGrant | None:
        """Ask for the grant of one blob."""
        try:
            answer = await stub.GrantTransfers(request, timeout=ASKING_SECONDS)
        except aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                self._unknown_until = self._clock() + UNKNOWN_SECONDS
            elif error.code() not in _FAILING:
                raise
            return None
        return next(chain(answer.reads, answer.writes), None)

    async def _moved(
        self,
        stub: "BlobServiceAsyncStub",
        request: pb.GrantTransfersRequest,
        transfer: Fetching | Storing,
        run_of: Callable[[pb.TransferGrant], Run],
    ) -> pb.TransferGrant | None:
        """Move a blob by the first grant that does it; returns that one, None if there is none."""
        for _ in range(2):  # a grant may have waited for too long
            grant = await self._granted(stub, request)
            if grant is None:
                return None
            server = ""
            try:
                where = where_of(grant, self._address())
                server = where.server
                if self._left.get(server, float("-inf")) > self._clock():
                    return None
                await self._repeated(transfer, partial(run_of(grant), where))
                return grant
            except Expired as error:
                failure: HttpFailure = error
            except Elsewhere as error:
                logger.info("a blob of %s is asked of the control plane: it %s", server, error)
                return None
            except HttpFailure as error:
                self._leave(server, error)
                return None
        self._leave(server, failure)
        return None

    async def _repeated(self, transfer: Fetching | Storing, run: Callable[[], None]) -> None:
        """Make a transfer, and make it once more while what it fails of may pass.

        Raises:
            HttpFailure: It did not pass, or cannot.
        """
        delays, until = iter(FIRST_DELAYS), self._clock() + PATIENCE_SECONDS
        while True:
            before = transfer.progress
            try:
                return await _in_thread(transfer, run)
            except Busy as error:
                if self._clock() >= until:
                    raise
                await self._sleep(max(error.wait, FIRST_DELAYS[-1]))
            except Broken:
                if transfer.progress > before:
                    delays = iter(FIRST_DELAYS)
                if (delay := next(delays, None)) is None:
                    raise
                await self._sleep(delay)

    def _leave(self, server: str, why: HttpFailure) -> None:
        self._left[server] = self._clock() + LEFT_ALONE_SECONDS
        logger.info("blobs go through the control plane for a minute: %s %s", server or "it", why)


async def _in_thread(transfer: Fetching | Storing, run: Callable[[], None]) -> None:
    """Call what blocks in a thread of its own, which nobody waits for at the end of the program.

    Cancelled, it is stopped first: what it reads or writes may be closed afterwards.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: BaseException | None) -> None:
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def work() -> None:
        failure: BaseException | None = None
        try:
            run()
        except BaseException as error:
            failure = error
        with suppress(RuntimeError):  # the loop has ended, and whoever waited with it
            loop.call_soon_threadsafe(settle, failure)

    try:
        threading.Thread(target=work, name="blob transfer", daemon=True).start()
    except RuntimeError:
        raise Unusable("is not called: this process may have no more threads") from None
    try:
        await asyncio.shield(done)
    except asyncio.CancelledError:
        transfer.stop()
        await _over(done)
        raise


async def _over(done: "asyncio.Future[None]") -> None:
    """Wait for the end of a thread that was stopped, whoever else is impatient."""
    while not done.done():
        try:
            await asyncio.wait([done])
        except asyncio.CancelledError:
            continue
    done.exception()
