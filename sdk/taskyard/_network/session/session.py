"""A session: this process's submissions, and what becomes of them, for user threads.

Invariant: `submit` and its relatives only queue and never wait for the network; `open` waits once, so
that a missing server is an error at the first use and not a future that never settles.
"""

import os
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

from taskyard._data.values.awaited import AwaitedRun
from taskyard._network.server.calls import Client
from taskyard._network.server.loop_thread import at_exit, portal
from taskyard._network.session.in_flight import Decision, Exchange
from taskyard._network.session.outbox import MOST_BYTES, Block, Upstream, cancels_of
from taskyard._network.session.templates import Template
from taskyard_api.v1 import common_pb2
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.channels import target_of
from taskyard_contract.errors import ConnectionFailed
from taskyard_contract.log_entry import LogEntry

if TYPE_CHECKING:
    from taskyard._network.session.stream import Stream

CONNECT_SECONDS: Final = 15.0
GOODBYE_SECONDS: Final = 3.0


class Session:
    """One process's connection to a control plane. Thread-safe."""

    def __init__(self, locate: Callable[[], str], parent_run_id: bytes = b"") -> None:
        """Prepare a session; `open` connects it.

        Args:
            locate: Returns the server's address, and starts a local yard if that is needed.
            parent_run_id: The run inside which the session is opened.
        """
        self.exchange = Exchange(locate, parent_run_id)
        self.exchange.on_logs = _show_logs
        self.on_close: list[Callable[[], None]] = []
        """What serves this session and has to end before it, in the order of beginning."""
        self._outbox = self.exchange.outbox
        self._stream: Stream | None = None
        self._opening = threading.Lock()
        self._client: Client | None = None
        _made.add(self)

    @property
    def session_id(self) -> bytes:
        """The session's id."""
        return self.exchange.session_id

    @property
    def max_inline_bytes(self) -> int:
        """Largest payload that travels inside a frame."""
        return self.exchange.max_inline_bytes

    @property
    def max_payload_bytes(self) -> int:
        """Largest payload at all."""
        return self.exchange.max_payload_bytes

    def open(self, timeout: float = CONNECT_SECONDS) -> "Session":
        """Connect, unless connected before.

        Raises:
            ValueError: The address is none.
            ConnectionFailed: Nobody answers at the address.
            UnsupportedProtocol: The server is too old, or too new.
        """
        exchange = self.exchange
        if exchange.fatal is not None:
            raise exchange.fatal
        if exchange.opened.is_set():
            return self
        with self._opening:
            if self._stream is None:
                # Here, so that a wrong address, or a yard that does not start, is said to the caller.
                target_of(exchange.locate())
                self._stream = portal.run(self._start())
                at_exit(self.close)
        if not exchange.opened.wait(timeout):
            raise ConnectionFailed(
                f"no control plane answered at {exchange.locate()} within {timeout:g} seconds"
                f" ({exchange.trouble or 'no answer'}); start one with 'taskyard server start',"
                " or unset TASKYARD_SERVER to use a local yard"
            )
        if exchange.fatal is not None:
            raise exchange.fatal
        return self

    def submit(
        self,
        template: Template,
        flow_run_id: bytes,
        parent_run_id: bytes,
        future: AwaitedRun,
        args: bytes,
        ordinal: int,
        upstream: Upstream | None = None,
        cache_key: str | None = None,
        extra: pb.RunExtra | None = None,
    ) -> None:
        """Submit one run, whose outcome will settle `future`.

        Returns at once, unless more waits to be sent than memory should hold.
        """
        if self.exchange.fatal is not None:
            raise self.exchange.fatal
        run_id = future.run_id
        self.exchange.outstanding[run_id] = future
        self._outbox.add_run(
            template, flow_run_id, parent_run_id, run_id, args, ordinal, upstream, cache_key, extra
        )
        if self.exchange.fatal is not None or not self.exchange.signalled:
            self.signal()
        if self._outbox.size > MOST_BYTES:
            self._outbox.wait_for_room(self._failed)

    def submit_block(self, block: Block, futures: Iterable[AwaitedRun]) -> None:
        """Submit a whole block of runs."""
        if self.exchange.fatal is not None:
            raise self.exchange.fatal
        self.exchange.outstanding.update(zip(block.run_ids, futures, strict=True))
        self._outbox.add(block)
        self.signal()
        if self._outbox.size > MOST_BYTES:
            self._outbox.wait_for_room(self._failed)

    def _failed(self) -> bool:
        return self.exchange.fatal is not None

    def submit_flow(self, block: Block) -> None:
        """Record a flow run, whose body runs in this process."""
        if self.exchange.fatal is not None:
            raise self.exchange.fatal
        self._outbox.add(block)
        self.signal()

    def watch(self, future: AwaitedRun) -> None:
        """Settle `future` by the outcome of a run that was submitted elsewhere."""
        self.exchange.outstanding[future.run_id] = future
        self.exchange.subscriptions.append(future.run_id)
        self.signal()

    def report_start(self, report: pb.FlowReport) -> None:
        """Report that the body of a flow run has started."""
        self._outbox.add(report)
        self.signal()

    def report_end(self, report: pb.FlowReport) -> Decision:
        """Report how an attempt of a flow run ended; the answer comes when that is durable."""
        exchange = self.exchange
        decision = Decision()
        error = exchange.fatal or exchange.refused_flows.pop(report.run_id, None)
        if error is not None:
            decision.set_exception(error)
            return decision
        exchange.decisions[report.run_id] = decision
        self._outbox.add(report)
        self.signal()
        return decision

    def cancel(self, run_ids: list[bytes], *, unless_started: bool = False) -> None:
        """Request the cancellation of runs, or only of those that have not started."""
        for item in cancels_of(run_ids, unless_started=unless_started):
            self._outbox.add(item)
        self.signal()

    def log(self, entry: LogEntry) -> None:
        """Send a log record of a run whose code runs in this process."""
        self.exchange.logs.append(entry)
        self.signal()

    def outstanding_of(self, origin: object) -> list[AwaitedRun]:
        """Return the runs submitted from one origin that have not ended."""
        # Copied in one step, because the loop's thread takes runs out meanwhile.
        runs = self.exchange.outstanding.copy().values()
        return [run for run in runs if run.origin is origin]

    def client(self) -> Client:
        """Return unary calls to the same control plane."""
        if self._client is None:
            self._client = Client(self.exchange.locate())
        return self._client

    def fetch(self, ref: common_pb2.BlobRef) -> bytes:
        """Read a blob."""
        return self.client().download(ref)

    def close(self) -> None:
        """Send what is pending, end the session and disconnect."""
        while self.on_close:
            self.on_close.pop()()
        stream, self._stream = self._stream, None
        if stream is not None:
            try:
                portal.run(stream.close(), GOODBYE_SECONDS)
            except TimeoutError:
                pass  # The session's lease ends it instead.
            self.exchange.on_fatal(ConnectionFailed("the session was closed; a new call opens another one"))
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def signal(self) -> None:
        """Wake the stream, once for everything that is queued until it looks."""
        if self.exchange.fatal is not None:
            raise self.exchange.fatal
        self.exchange.signalled = True
        stream = self._stream
        if stream is not None:
            portal.loop().call_soon_threadsafe(stream.wake)

    async def _start(self) -> "Stream":
        from taskyard._network.session.stream import Stream

        stream = Stream(self.exchange)
        stream.start()
        return stream


_sessions: dict[str, Session] = {}
_lock = threading.Lock()


def current_session(parent_run_id: bytes = b"") -> Session:
    """Return this process's session with the server that TASKYARD_SERVER names, connected."""
    address = os.environ.get("TASKYARD_SERVER", "")
    session = _sessions.get(address)
    if session is None or session.exchange.fatal is not None:
        with _lock:
            session = _sessions.get(address)
            if session is None or session.exchange.fatal is not None:
                session = _sessions[address] = Session(_locator(address), parent_run_id)
    return session.open()


def _show_logs(batch: pb.LogBatch) -> None:
    """Show log records of this session's runs that other processes wrote."""
    from taskyard.logging import show

    columns = zip(batch.run_names, batch.at_us, batch.levels, batch.messages, batch.loggers, strict=True)
    for name, at_us, level, message, logger in columns:
        show(name, at_us, level, message, flow=logger.endswith("flow_runs"))


def _locator(address: str) -> Callable[[], str]:
    """Return what finds the server: the address given, or the local yard."""
    if address:
        return lambda: address
    from taskyard._network.server.local_yard import ensure_yard

    return ensure_yard


_made: WeakSet[Session] = WeakSet()
_inherited: list[Session] = []
"""Sessions of the parent process. Kept, because destroying gRPC objects after a fork can crash."""


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    _inherited.extend(_made)
    _sessions.clear()
    for session in _inherited:
        exchange = session.exchange
        exchange.fatal = ConnectionFailed("this process was forked; the session belongs to its parent")
        exchange.signalled = False
        for future in exchange.outstanding.values():
            future.put(exchange.fatal)


os.register_at_fork(after_in_child=_after_fork)
