"""A session: one process's connection to a control plane, for the threads of the user.

It owns the machine (`InFlight`) and the stream that drives it, opens both with the first use and ends both.
Invariant: submitting, watching and reporting only queue and never wait for the network; `open` waits once, so
that a missing server is an error at the first use and not a future that never settles.
"""

import logging
import os
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

from taskyard import settings
from taskyard._data.values.awaited import AwaitedRun
from taskyard._data.values.kept import KEPT, Dropped
from taskyard._network.server.calls import Client
from taskyard._network.server.loop_thread import LoopThread, at_exit, loop_thread, not_at_exit
from taskyard._network.session.blobs import Blobs
from taskyard._network.session.decisions import Decision
from taskyard._network.session.in_flight import InFlight
from taskyard._network.session.rereads import Reread
from taskyard._network.session.tally import Ends
from taskyard_api.v1 import common_pb2
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.errors import ConnectionFailed, TaskyardError
from taskyard_contract.log_entry import LogEntry
from taskyard_contract.programs.uninterrupted import interruptible
from taskyard_contract.states import RunState
from taskyard_contract.transport.channels import target_of

if TYPE_CHECKING:
    # Imports gRPC, which programs need not wait for before their first call.
    from asyncio import Task

    from taskyard._network.session.stream import Stream

logger = logging.getLogger("taskyard.session")

CONNECT_SECONDS: Final = 15.0
"""A local yard that has to be started on a busy machine takes a few seconds."""
CONNECT_FROM_RUN_SECONDS: Final = 600.0
"""A run in a worker need not find out whether there is a server: its agent is connected to it, and ends the
run when it has been without it for longer than the lease."""
GOODBYE_SECONDS: Final = 3.0
"""How long the end of a program is put off for what is still to be sent, its last logs for example."""


class Session:
    """One process's connection to a control plane. Thread-safe."""

    def __init__(
        self, locate: Callable[[], str], caller_run_id: bytes = b"", thread: LoopThread = loop_thread
    ) -> None:
        """Prepare a session; `open` connects it.

        Args:
            locate: Returns the server's address, and starts a local yard if that is needed.
            caller_run_id: The run inside which the session is opened.
            thread: Where its stream lives.
        """
        self._thread = thread
        self.caller_run_id = caller_run_id
        """The run inside which it was opened; empty in the programs of people."""
        self.patience = CONNECT_FROM_RUN_SECONDS if caller_run_id else CONNECT_SECONDS
        """Seconds for which `open` waits for a server."""
        self.in_flight = InFlight(locate, self.wake, self._call_later, caller_run_id)
        said = self.in_flight.said
        said.show, said.dropped_output = _show, _say_dropped_output
        said.dropped_logs, said.lost_logs = _say_dropped, _say_lost
        if not caller_run_id:  # what a task calls is said by the server, to the program
            self.in_flight.ends.say = _say_ends
        # Bound once: these two are called for each run, and a method that only hands on would be felt.
        self.submit = self.in_flight.submit
        self.submit_group = self.in_flight.submit_group
        self.on_close: list[Callable[[], None]] = []
        """What serves this session and has to end before it, in the order of beginning."""
        self._stream: Stream | None = None
        self._asking: Task[None] | None = None
        self._opening = threading.Lock()
        self._client: Client | None = None
        self.blobs = Blobs(self.client, lambda: self.in_flight.blob_directory)
        """The store of large values."""
        _made.add(self)

    @property
    def session_id(self) -> bytes:
        """16 bytes by which the control plane knows the session again on its next stream."""
        return self.in_flight.session_id

    @property
    def max_inline_bytes(self) -> int:
        """Largest payload that travels inside a frame."""
        return self.in_flight.max_inline_bytes

    @property
    def max_payload_bytes(self) -> int:
        """Largest payload at all, as the server's welcome said."""
        return self.in_flight.max_payload_bytes

    @property
    def capabilities(self) -> frozenset[str]:
        """What the server can do beyond this version of the contract, as its welcome said."""
        return self.in_flight.capabilities

    @property
    def failed(self) -> bool:
        """Whether it is over, so that the next call needs another one."""
        return self.in_flight.fatal is not None

    def locate(self) -> str:
        """Return the server's address; may block, to start a local yard."""
        return self.in_flight.locate()

    def fail(self, error: TaskyardError) -> None:
        """End it: something that serves it cannot go on."""
        self.in_flight.on_fatal(error)
        stream = self._stream
        if stream is not None:
            # Or its lease would go on, and its runs would pass for runs that somebody waits for.
            self._thread.loop().call_soon_threadsafe(stream.leave)

    def open(self) -> "Session":
        """Connect, unless connected before.

        Raises:
            ValueError: The address is none, or a variable of the environment says what cannot be.
            ConnectionFailed: Nobody answers at the address.
            UnsupportedProtocol: The server is too old, or too new.
        """
        state = self.in_flight
        if state.fatal is not None:
            raise state.fatal
        if state.opened.is_set():
            return self
        settings.output()  # an error here, and not when there is something to show
        KEPT.most = settings.results_in_memory()
        with self._opening:
            if self._stream is None:
                # Here, so that a wrong address, or a yard that does not start, is said to the caller.
                target_of(state.locate())
                self._thread.run(self._start())
        if not state.opened.wait(self.patience):
            raise ConnectionFailed(
                f"no control plane answered at {state.locate()} within {self.patience:g} seconds"
                f" ({state.trouble or 'no answer'}); start one with 'taskyard server start',"
                " or unset TASKYARD_SERVER to use a local yard"
            )
        if state.fatal is not None:
            raise state.fatal
        return self

    def watch(self, run: AwaitedRun) -> None:
        """Settle `run` by the outcome of a run that was submitted elsewhere."""
        self.in_flight.watch([run])

    def unended(self, run_id: bytes) -> AwaitedRun | None:
        """Return the run of this session that has an id, if it has not ended: it may be on its way still."""
        return self.in_flight.unended(run_id)

    def read_again(self, run: AwaitedRun, dropped: Dropped) -> AwaitedRun:
        """Ask for an outcome that was dropped, and for those that are probably wanted next.

        Returns:
            What is settled by it.

        Raises:
            TaskyardError: The session is over.
        """
        self.in_flight.tally.has_rereads = True
        return self.in_flight.watch([Reread(each, dropped) for each in dropped.ask_for(run)])[0]

    def report_start(self, report: pb.FlowReport) -> None:
        """Report that the body of a flow run has started."""
        self.in_flight.report(report)

    def report_end(self, report: pb.FlowReport) -> Decision:
        """Report how an attempt of a flow run ended; the answer comes when that is durable."""
        return self.in_flight.report_end(report)

    def on_cancel(self, run_id: bytes, stop: Callable[[], None] | None) -> None:
        """Let `stop` end the body of a flow run when somebody cancels the run; None takes that back."""
        if stop is not None:
            self.in_flight.decisions.listen(run_id, stop)
        else:
            self.in_flight.decisions.ignore(run_id)

    def announce(self, world: pb.ProgramWorld) -> None:
        """Have the server know of a world before runs that name it, and again on each stream."""
        self.in_flight.announce(world)

    def cancel(self, run_ids: list[bytes]) -> None:
        """Request the cancellation of runs."""
        self.in_flight.end(run_ids, withdraws=False)

    def withdraw(self, run_ids: list[bytes]) -> None:
        """Request the end of those of some runs that have not started."""
        self.in_flight.end(run_ids, withdraws=True)

    def log(self, entry: LogEntry) -> None:
        """Send a log record of a run whose code runs in this process."""
        self.in_flight.log(entry)

    def outstanding_of(self, origin: object) -> list[AwaitedRun]:
        """Return the runs submitted from one origin that have not ended."""
        outstanding = self.in_flight.outstanding()
        return [run for run in outstanding if run.origin is origin and not run.is_again]

    def count_ends(self, ends: Ends) -> None:
        """Count in `ends` the runs of its origin that end from now on."""
        self._thread.loop().call_soon_threadsafe(self.in_flight.tally.begin, ends)

    def count_ends_no_more(self, ends: Ends) -> None:
        """Take back a `count_ends`."""
        self._thread.let_know(lambda: self.in_flight.tally.end(ends))

    def client(self) -> Client:
        """Return unary calls to the same control plane, as patient as the stream."""
        if self._client is None:
            self._client = Client(self.locate(), patient=True)
        return self._client

    def fetch(self, ref: common_pb2.BlobRef) -> bytes | memoryview:
        """Read a result that was too large for a frame; blocks until it is here."""
        return self.blobs.read(ref)

    def close(self) -> None:
        """Send what is pending, end the session and disconnect."""
        not_at_exit(self.close)
        while self.on_close:
            self.on_close.pop()()
        stream, self._stream = self._stream, None
        asking, self._asking = self._asking, None
        if asking is not None:
            self._thread.loop().call_soon_threadsafe(asking.cancel)
        if stream is not None:
            try:
                self._thread.run(stream.close(), GOODBYE_SECONDS)
            except TimeoutError:
                pass  # The session's lease ends it instead.
            self.fail(ConnectionFailed("the session was closed; a new call opens another one"))
        client, self._client = self._client, None
        if client is not None:
            client.close()

    @interruptible
    def wake(self) -> None:
        """Make the stream, if there is one, ask for the next frame. From any thread; repeat it if it raises.

        It gives way to other threads, so this is where those that interrupt code which only submits find it.
        """
        stream = self._stream
        if stream is not None:
            self._thread.loop().call_soon_threadsafe(stream.wake)

    async def _start(self) -> None:
        """Open the stream, unless somebody has done so who was interrupted while waiting for it."""
        import asyncio

        from taskyard._network.session.stream import Stream
        from taskyard._network.session.wait_asking import WaitAsking

        if self._stream is None:
            self._stream = stream = Stream(self.in_flight)
            stream.start()
            asking = WaitAsking(self.in_flight, lambda: stream.channel)
            self._asking = asyncio.get_running_loop().create_task(asking.run())
            at_exit(self.close)

    def _call_later(self, delay: float, call: Callable[[], None]) -> None:
        self._thread.loop().call_later(delay, call)


def _show(logs: pb.LogBatch | None, output: pb.OutputBatch | None) -> None:
    from taskyard.logging import show_said  # programs whose tasks say nothing need not import it

    show_said(logs, output)


def _say_dropped_output(lines: int) -> None:
    from taskyard.logging import say_dropped_output

    say_dropped_output(lines)


def _say_ends(outcomes: Sequence[pb.RunOutcome]) -> None:
    bad = [each for each in outcomes if int(each.state) != RunState.COMPLETED and not each.said]
    if bad:
        from taskyard.logging.ends import show_ends  # as above

        show_ends(bad)


def _say_dropped(count: int) -> None:
    logger.warning(
        "%d log records dropped: this program read them too slowly; 'taskyard run logs' shows them", count
    )


def _say_lost(count: int) -> None:
    logger.warning("%d log records dropped: the server did not take them in time", count)


_made: WeakSet[Session] = WeakSet()
_inherited: list[Session] = []
"""Sessions of the parent process. Kept, because destroying gRPC objects after a fork can crash."""


def _after_fork() -> None:
    _inherited.extend(_made)
    for session in _inherited:
        session.in_flight.abandon(
            ConnectionFailed("this process was forked; the session belongs to its parent")
        )


os.register_at_fork(after_in_child=_after_fork)
