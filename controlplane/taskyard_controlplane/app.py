"""Composition root: the only place that puts storage, owner and RPC together, and starts and ends them.

Invariant: nothing answers before recovery is complete, and nothing acknowledged is lost by an orderly stop:
streams are told to reconnect, calls end, commits drain, and only then the database is given up. A database
that takes no commits meanwhile is waited for only so long; what was not acknowledged is then not recorded.
"""

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from taskyard_api.v1 import common_pb2
from taskyard_contract.clock import Clock, SystemClock
from taskyard_contract.errors import StorageUnavailable
from taskyard_contract.programs.event_loops import new_event_loop
from taskyard_contract.programs.log_lines import say_ready
from taskyard_controlplane.blob_opening import open_blob_store
from taskyard_controlplane.blobs.intact import Intact
from taskyard_controlplane.blobs.interface import BlobStore
from taskyard_controlplane.heap import keep_trimmed
from taskyard_controlplane.owner.queueing.large_bodies import Place
from taskyard_controlplane.owner.rules.retry_delays import RetryDelays
from taskyard_controlplane.owner.serving.owner import Owner
from taskyard_controlplane.owner.serving.terms import LeaseTimes
from taskyard_controlplane.pulse import Pulse
from taskyard_controlplane.reading.background import Background
from taskyard_controlplane.rpc.directory import Directory
from taskyard_controlplane.rpc.server import RpcServer
from taskyard_controlplane.rpc.services import Services
from taskyard_controlplane.sealing.keys import KeyRing
from taskyard_controlplane.settings import InvalidSettings, LeaseSettings, Settings
from taskyard_controlplane.storage import create_reader, create_store
from taskyard_controlplane.storage.engine import keys_beside
from taskyard_controlplane.storage.interface import Reader, Store
from taskyard_controlplane.transfers.granting import Granting, ways_past

if TYPE_CHECKING:
    from taskyard_controlplane.data_process.grants import DataPort

SWITCH_INTERVAL_SECONDS: Final = 0.0005
"""So long a writer that comes back from the database waits for a busy event loop to give the interpreter up.
With Python's 5 ms, a commit of many statements beside a busy loop took several times as long."""
GC_THRESHOLDS: Final = (50_000, 20, 100)
"""Runs make objects but no cycles, so collections find nothing; with Python's 700 they cost 3 to 10 %."""
BLOB_THREADS: Final = 4
"""That write and read blobs: several syncs at a time share what a disk needs for one."""
FAILED_STOP_SECONDS: Final = 5.0
"""After a failure the database may never answer again, and a supervisor waits to start the next process."""

_log = logging.getLogger(__name__)


class ControlPlane:
    """An assembled control plane. Made and used on one event loop.

    Attributes:
        settings: What it was made with.
        address: Where gRPC listens, known after `start`.
        http_address: Where the probes listen; empty without them.
        data_address: Where the data process listens, once it is needed; empty without one.
        owner: The owner of the runs, from `start` on.
        failed: Completes with the error that forbids this process to go on.
    """

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        """Assemble nothing yet; `start` does."""
        self.settings = settings
        self.address = settings.rpc.listen
        self.http_address = ""
        self.owner: Owner
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.data_address = ""
        self._data_port: DataPort | None = None
        self._clock = clock or SystemClock()
        self._blobs: BlobStore | None = None
        self._closing = AsyncExitStack()

    async def start(self) -> None:
        """Bind, open the database, recover, serve.

        Raises:
            ListenFailed: An address is in use or cannot be bound.
            DatabaseInUse: Another process owns the database.
            SchemaNotUnderstood: The database is from another release.
            StorageUnavailable: The database does not answer, or the store of blobs cannot be used.
        """
        async with AsyncExitStack() as stack:
            server = RpcServer(self.settings.rpc)
            stack.push_async_callback(server.stop)
            server.bind()
            self.address = server.address
            probes = self._bind_probes(stack)
            self._bind_data(stack)
            store, reader = self._open_storage(stack)
            await self._start_owner(store, stack)
            self._blobs = self.owner.retention.blobs.data = await asyncio.to_thread(
                self._open_blobs, reader, stack
            )
            self.owner.shard.delivery.bodies.place = Place(self._blobs, reader)
            services = self._add_services(server, store.dialect, reader, self._blobs, stack)
            await server.start()
            stack.push_async_callback(server.stop)
            stack.callback(self.owner.begin_stop)
            stack.callback(services.begin_stop)
            if probes is not None:
                probes()
            self._closing = stack.pop_all()

    async def stop(self) -> None:
        """End everything in the opposite order. Does nothing the second time."""
        await self._closing.aclose()

    def _bind_probes(self, stack: AsyncExitStack) -> Callable[[], None] | None:
        """Bind the HTTP port, if there is one; returns what starts it."""
        settings = self.settings.probe
        if not settings.listen:
            return None
        # Imported here because the local yard does without it, and its start-up time counts.
        from taskyard_controlplane.probes import OwnerCollector, ProbeServer

        server = ProbeServer(settings.listen)
        stack.callback(server.stop)
        self.http_address = server.address
        pulse = Pulse(self._clock, settings.max_lag_seconds)

        def start() -> None:
            beating = asyncio.create_task(pulse.run())
            stack.callback(beating.cancel)
            server.start(OwnerCollector(self.owner, lambda: pulse.lag_seconds), pulse.why_unhealthy)

        return start

    def _bind_data(self, stack: AsyncExitStack) -> None:
        """Bind the port of the data process, if there may be one."""
        address = self.settings.data_address
        if not address:
            return
        # Imported here because the local yard does without it.
        from taskyard_controlplane.data_process.grants import DataPort

        self._data_port = DataPort(address)
        stack.callback(self._data_port.close)
        self.data_address = self._data_port.address

    def _open_storage(self, stack: AsyncExitStack) -> tuple[Store, Reader]:
        url = self.settings.database.url
        try:
            store, reader = create_store(url), create_reader(url)
        except ValueError as error:
            raise InvalidSettings(str(error)) from None
        stack.callback(reader.close)
        return store, reader

    def _open_blobs(self, reader: Reader, stack: AsyncExitStack) -> BlobStore:
        """Open the store of blobs. By the owner only: it tells all who see a directory that it is theirs."""

        def temporary() -> Path:
            return Path(
                stack.enter_context(TemporaryDirectory(prefix="taskyard-blobs-", ignore_cleanup_errors=True))
            )

        store = open_blob_store(self.settings, reader.database_id(), temporary)
        stack.callback(store.close)
        return store

    def _blob_directory(self) -> common_pb2.BlobDirectory | None:
        return None if self._blobs is None else self._blobs.directory

    async def _start_owner(self, store: Store, stack: AsyncExitStack) -> None:
        rpc = self.settings.rpc
        self.owner = Owner(
            store,
            lease_times(self.settings.lease),
            self._clock,
            max_inline_bytes=rpc.max_inline_bytes,
            max_payload_bytes=self.settings.max_payload_bytes,
            max_page_size=rpc.max_page_size,
            max_wait_seconds=rpc.max_wait_seconds,
            blob_directory=self._blob_directory,
            fatal=self._fail,
            memory=self.settings.memory,
            policy=self.settings.retention.policy(),
            log_limits=self.settings.logs.limits,
            delays=RetryDelays(factor=self.settings.retry_delay_factor),
        )
        gc.disable()  # recovery makes as many objects as there are open runs, and no garbage
        try:
            await self.owner.start()
        finally:
            gc.enable()
        stack.push_async_callback(self._stop_owner)

    async def _stop_owner(self) -> None:
        """Give the database up; without it, when it does not take what was accepted.

        Raises:
            StorageUnavailable: It did not.
        """
        seconds = self.settings.database.stop_seconds
        try:
            async with asyncio.timeout(seconds):
                recorded = await self.owner.stop()
        except TimeoutError:
            self.owner.abandon()
            what = f"the database did not answer for {seconds:g} s"
        else:
            if recorded or self.failed.done():  # a failure has its own exit code
                return
            what = "the database refused commits"
        raise StorageUnavailable(
            f"{what} when this control plane was to stop; what was not acknowledged is not recorded, "
            "and whoever sent it sends it again"
        )

    def _fail(self, error: BaseException) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)
            self.failed.exception()  # looked at, or it would be told as forgotten when `start` raises it too

    def _add_services(
        self, server: RpcServer, dialect: str, reader: Reader, blobs: BlobStore, stack: AsyncExitStack
    ) -> Services:
        threads = ThreadPoolExecutor(self.settings.database.reader_threads, thread_name_prefix="reader")
        writers = ThreadPoolExecutor(BLOB_THREADS, thread_name_prefix="blobs")
        # Not waited for: calls have had their time, and a listing may wait for a database that hangs.
        for pool in (threads, writers):
            stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        trimming = asyncio.create_task(keep_trimmed(threads, self.owner.renew))
        stack.callback(trimming.cancel)
        self.owner.shard.cache.look_at = partial(_look_at, Background(writers), Intact(blobs))
        directory = Directory()
        directory.note(self.owner)
        services = Services(
            directory,
            reader,
            Background(threads),
            blobs,
            Background(writers),
            replace(self.settings.rpc, max_payload_bytes=self.settings.max_payload_bytes),
            self.settings.peers,
            self._granting(blobs, stack),
            key_ring(self.settings),
            dialect=dialect,
            started_us=self._clock.now_us(),
        )
        services.add_to(server)
        return services

    def _granting(self, blobs: BlobStore, stack: AsyncExitStack) -> Granting:
        """Return the ways on which blobs go past this process."""
        settings = self.settings
        try:
            ways = ways_past(blobs, settings.object_endpoint) if settings.direct_transfers else []
        except ValueError as error:
            text = f"blobs in {blobs.url} cannot have the endpoint {settings.object_endpoint}: {error}"
            raise InvalidSettings(text) from None
        if self._data_port is not None and blobs.directory is not None:
            data = ExitStack()
            ways.append(data.enter_context(self._data_port.grants(Path(blobs.url))))
            stack.push_async_callback(asyncio.to_thread, data.close)  # its end takes a moment
        return Granting(ways)


def _look_at(
    writing: Background, intact: Intact, ref: common_pb2.BlobRef, tell: Callable[[bool], None]
) -> None:
    """Tell, when it is known, whether a value can still be read; on the loop, which reads nothing itself."""
    looking = asyncio.ensure_future(writing(intact, ref))

    def looked(done: "asyncio.Future[bool]") -> None:
        if not done.cancelled():  # as it is when this server ends
            tell(done.exception() is not None or done.result())

    looking.add_done_callback(looked)


def key_ring(settings: Settings) -> KeyRing:
    """Return the keys of secrets: those that it was given, else those of a file beside an SQLite database."""
    if settings.keys is not None:
        return settings.keys
    path = keys_beside(settings.database.url)
    return KeyRing(path=path, makes=path is not None)


def lease_times(lease: LeaseSettings) -> LeaseTimes:
    """Return the leases as the owner wants them."""
    return LeaseTimes(
        agent_lease=lease.agent_lease_seconds,
        agent_heartbeat=lease.agent_heartbeat_seconds,
        session_lease=lease.session_lease_seconds,
        session_heartbeat=lease.session_heartbeat_seconds,
    )


def ready_line(plane: ControlPlane) -> str:
    """Return what a server prints when it is ready."""
    http = f"http {plane.http_address}, " if plane.http_address else ""
    data = f"data {plane.data_address}, " if plane.data_address else ""
    database = f"database {plane.settings.database.shown_url}"
    return f"taskyard server ready on {plane.address} ({http}{data}{database})"


Until = Callable[[ControlPlane], Coroutine[Any, Any, None]]


def run(settings: Settings, ready: Callable[[ControlPlane], str], until: Until | None = None) -> None:
    """Serve until a signal comes, or `until` returns.

    Args:
        settings: What to serve.
        ready: Returns the line to print when it is.
        until: Runs beside the server; cancelled when a signal comes first.

    Raises:
        Exception: What `ControlPlane.start` raises, or what ended the owner.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    gc.set_threshold(*GC_THRESHOLDS)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_serve(settings, ready, until))


async def _serve(settings: Settings, ready: Callable[[ControlPlane], str], until: Until | None) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    plane = ControlPlane(settings)
    try:
        await first_of(stopping.wait(), plane.start())
        if not stopping.is_set():
            say_ready(ready(plane), _log)
            settle_memory()
            await first_of(stopping.wait(), plane.failed, *([until(plane)] if until else []))
    finally:
        await stop_in_order(plane)


async def stop_in_order(plane: ControlPlane) -> None:
    """End in order; after a failure that may be impossible, and must not keep a supervisor waiting."""
    try:
        async with asyncio.timeout(FAILED_STOP_SECONDS if plane.failed.done() else None):
            await plane.stop()
    except TimeoutError:
        _log.warning("not everything ended within %g s after the failure", FAILED_STOP_SECONDS)


def settle_memory() -> None:
    """Take everything made so far out of the garbage collector's sight: it will live as long as we do."""
    gc.collect()
    gc.freeze()


async def first_of(*awaitables: Awaitable[Any]) -> None:
    """Wait for the first of several; cancel the other coroutines, and wait for what they do then.

    Raises:
        Exception: The error the first one ended with.
    """
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    own = [task for task, awaitable in zip(tasks, awaitables, strict=True) if task is not awaitable]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in own:
            task.cancel()
        await asyncio.gather(*own, return_exceptions=True)
    for task in done:
        task.result()
