"""A session without its stream: what was submitted, what is awaited, what has to be said again.

This is a machine without input or output. Threads of the user submit, watch, report and ask for ends; all of
that only queues and then wakes the stream, once for everything that is queued until the stream looks
(`signalled`). The stream, on the loop's thread, asks for the next frame and hands in what arrives.

A session outlives its streams. Everything that may be lost with one is remembered until the control plane has
answered it, each in its own way:

- runs: in `Unacknowledged`, by batches, until these are durable; in `_outstanding` until their outcome came;
- reports of flow runs: in `Decisions` until they are answered;
- requests to end a run: in `Ending` until the run has ended;
- log records: in `LogOutbox`, by batches, until these are durable.

After the welcome on a new stream exactly that is repeated, in this order, before anything new:
unacknowledged batches, then reports, then requests to end runs, which must not arrive before the runs. Runs
that are durable and still open are subscribed again, because their results may have been pushed into the
broken stream. What arrives twice is told apart by ids, numbers of batches and numbers of attempts.

Once `fatal` is set the session is over: everybody who waits gets that error, and so does who comes later.
"""

import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence

from taskyard._data.values.awaited import AwaitedRun
from taskyard._data.values.kept import SMALL_BYTES
from taskyard._network.session.decisions import Decision, Decisions
from taskyard._network.session.ends import Ends
from taskyard._network.session.log_outbox import LogOutbox
from taskyard._network.session.outbox import IDS_PER_FRAME, MOST_BYTES, Ending, Outbox, end_requests
from taskyard._network.session.refusals import Refusals, already_submitted, read_refusals
from taskyard._network.session.run_groups import GroupKey, RunGroup, Upstream
from taskyard._network.session.said import Said
from taskyard._network.session.tally import Tally, oldest
from taskyard._network.session.unacknowledged import Unacknowledged
from taskyard._network.session.world_outbox import WorldOutbox
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.errors import TaskyardError
from taskyard_contract.id_factory import new_id
from taskyard_contract.log_entry import LogEntry
from taskyard_contract.payload_limits import MAX_INLINE_BYTES, MAX_PAYLOAD_BYTES
from taskyard_contract.programs.uninterrupted import uninterrupted
from taskyard_contract.versions import PROTOCOL_MAX, PROTOCOL_MIN, VERSION

Later = Callable[[float, Callable[[], None]], object]
"""Calls something on the loop's thread after so many seconds."""


class InFlight:
    """Everything a session has in flight. Implements `StreamOwner`; its methods run on the loop's thread."""

    def __init__(
        self, locate: Callable[[], str], wake: Callable[[], None], later: Later, caller_run_id: bytes = b""
    ) -> None:
        """Begin with nothing in flight.

        Args:
            locate: Returns the server's address.
            wake: Makes the stream ask for the next frame; any thread calls it.
            later: Calls something after a while.
            caller_run_id: The run inside which the session is opened.
        """
        self.session_id = new_id()
        self.locate = locate
        self.max_inline_bytes, self.max_payload_bytes = MAX_INLINE_BYTES, MAX_PAYLOAD_BYTES
        self.blob_directory = pb.SessionWelcome().blob_directory
        self.capabilities: frozenset[str] = frozenset()
        self.opened = threading.Event()
        self.trouble = ""
        self.fatal: TaskyardError | None = None
        self.signalled = False
        self.news = 0  # batches of outcomes: they show that runs get on
        self.decisions = Decisions()
        self.said = Said()
        self.tally = Tally()
        self.ends = Ends()
        self._wake = wake
        self._call_later = later
        self.caller_run_id = caller_run_id
        self._streams = 0
        self._sent = Unacknowledged()
        self._outbox = Outbox(self._sent.to_define)
        self._outstanding: dict[bytes, AwaitedRun] = {}
        self._subscriptions: deque[bytes] = deque()
        self._logs = LogOutbox()
        self._worlds = WorldOutbox()
        self._postponed: set[bytes] = set()
        """Runs that an overloaded server is asked to take once more after a while."""
        self._ending = Ending()

    # For the threads of the user.

    @uninterrupted
    def submit(
        self,
        key: GroupKey,
        run: AwaitedRun,
        args: bytes,
        ordinal: int,
        upstream: Upstream | None = None,
        cache_key: str | None = None,
        extra: pb.RunExtra | None = None,
    ) -> None:
        """Submit one run, whose outcome will settle `run`.

        Returns at once, unless more waits to be sent than memory should hold.
        """
        if self.fatal is not None:
            raise self.fatal
        if self._outstanding.setdefault(run_id := run.run_id, run) is not run:
            raise already_submitted(run_id)
        try:
            self._outbox.add_run(key, run_id, args, ordinal, upstream, cache_key, extra)
        except BaseException:  # an interrupt, or the cancellation of a flow
            self._outstanding.pop(run_id, None)  # or its flow would wait for a run that nobody knows
            raise
        if self.fatal is not None or not self.signalled:
            self.signal()
        if self._outbox.size > MOST_BYTES:
            self._outbox.wait_for_room(self.failed)

    @uninterrupted
    def submit_group(self, group: RunGroup, runs: Sequence[AwaitedRun] = ()) -> None:
        """Submit a whole group, whose outcomes will settle `runs`; nobody awaits the run of a flow."""
        if self.fatal is not None:
            raise self.fatal
        try:
            if runs:
                self._outstanding.update(zip(group.run_ids, runs, strict=True))
            self._outbox.add(group)
        except BaseException:  # as above
            for run_id in group.run_ids:
                self._outstanding.pop(run_id, None)
            raise
        self.signal()
        if self._outbox.size > MOST_BYTES:
            self._outbox.wait_for_room(self.failed)

    @uninterrupted
    def watch(self, runs: Sequence[AwaitedRun]) -> list[AwaitedRun]:
        """Settle `runs`, submitted elsewhere or ended before; returns what is settled: who watched first."""
        settled = [self._outstanding.setdefault(run.run_id, run) for run in runs]
        self._subscriptions.extend([run.run_id for run in runs])
        self.signal()
        return settled

    @uninterrupted
    def report(self, report: pb.FlowReport) -> None:
        """Report something about a flow run whose answer nobody waits for."""
        self._outbox.add(report)
        self.signal()

    @uninterrupted
    def report_end(self, report: pb.FlowReport) -> Decision:
        """Report how an attempt of a flow run ended; the answer comes when that is durable."""
        if self.fatal is not None:
            decision = Decision()
            decision.set_exception(self.fatal)
            return decision
        decision = self.decisions.expect(report.run_id)
        if not decision.done():
            self.report(report)
        return decision

    @uninterrupted
    def end(self, run_ids: list[bytes], withdraws: bool) -> None:
        """Request the end of runs, or only of those that have not started."""
        for request in end_requests(run_ids, withdraws):
            self._outbox.add(request)
        self.signal()

    @uninterrupted
    def log(self, entry: LogEntry) -> None:
        """Send a log record of a run whose code runs in this process."""
        self._logs.add(entry)
        self.signal()

    @uninterrupted
    def announce(self, world: pb.ProgramWorld) -> None:
        """Have the server know of a world before runs that name it."""
        if self._worlds.add(world):
            self.signal()

    def outstanding(self, most: int | None = None) -> list[AwaitedRun]:
        """Return the runs that have not ended; not more than `most` of them, the oldest ones."""
        # Copied in one step, because the loop's thread takes runs out meanwhile.
        return list(self._outstanding.copy().values() if most is None else oldest(self._outstanding, most))

    def unended(self, run_id: bytes) -> AwaitedRun | None:
        """Return the run of this session that has an id, if it has not ended."""
        return self._outstanding.get(run_id)

    def failed(self) -> bool:
        """Say whether the session is over, for whoever waits for room in the outbox."""
        return self.fatal is not None

    @uninterrupted
    def signal(self) -> None:
        """Wake the stream, once for everything that is queued until it looks."""
        if self.fatal is not None:
            raise self.fatal
        self.signalled = True
        try:
            self._wake()
        except BaseException:
            self._wake()  # whoever was interrupted may have queued the call, and not have told the loop
            raise

    # For the stream.

    def hello(self) -> pb.SessionHello:
        """Return what opens a stream: who this is, and which protocols it speaks."""
        self._streams += 1
        return pb.SessionHello(
            protocol_min=PROTOCOL_MIN,
            protocol_max=PROTOCOL_MAX,
            session_id=self.session_id,
            client_name=f"{socket.gethostname()}:{os.getpid()} python-{VERSION}",
            caller_run_id=self.caller_run_id,
            stream_number=self._streams,
            says_ends=True,
        )

    def on_welcome(self, welcome: pb.SessionWelcome) -> None:
        """Take the server's limits; after a broken stream, prepare what must be repeated."""
        self.max_inline_bytes = welcome.max_inline_bytes or self.max_inline_bytes
        self.max_payload_bytes = welcome.max_payload_bytes or self.max_payload_bytes
        self.blob_directory = welcome.blob_directory
        self.capabilities = frozenset(welcome.capabilities)
        self._sent.on_new_stream(welcome.max_unacked_batches)
        self._logs.on_new_stream(welcome.acknowledges_logs)
        self._worlds.on_new_stream()
        if self.opened.is_set():
            self._repeat_open_work()
        self.opened.set()

    def next_frame(self) -> pb.ClientFrame | None:
        """Return what should be sent now, or None."""
        # First: whoever queues something after this wakes the stream again.
        self.signalled = False
        again = self._sent.next_again()
        if again is not None:
            frame = pb.ClientFrame(submit=again)
            self._worlds.write_into(frame)
            return frame
        # Log records go behind the runs they are of, and before reports: of a run that has ended none is
        # recorded any more.
        groups, reports, cancels, withdrawn = self._outbox.next_frame(
            with_groups=self._sent.has_room(), only_groups=self._logs.crowded
        )
        self.decisions.sent(reports)
        if cancels or withdrawn:
            self._ending.note(cancels, withdrawn, self._outstanding)
        wanted = self._next_subscriptions()
        nothing = not (groups or reports or cancels or withdrawn or wanted)
        if nothing and not (self._logs.pending or self._worlds.pending):
            return None
        frame = pb.ClientFrame(flow_reports=reports, cancel=cancels, withdraw=withdrawn, subscribe=wanted)
        if groups:
            frame.submit.CopyFrom(self._sent.send(groups))
        if self._logs.pending:
            self._logs.write_into(frame)
        if self._worlds.pending:  # looked at last: what is among the groups was announced before them
            self._worlds.write_into(frame)
        return frame

    def on_frame(self, frame: pb.SessionFrame) -> None:
        """Take in what the server sent."""
        refusals = read_refusals(frame.refused)
        # Before the acknowledgement, which forgets the batches that overloaded runs are taken from.
        self._sent.refuse(refused.run_id for refused in frame.refused)
        self._apply_refusals(refusals)
        if frame.submitted_up_to:
            self._sent.acknowledge(frame.submitted_up_to)
        if frame.logs_up_to:
            self._logs.acknowledge(frame.logs_up_to)
            self._tell_dropped_logs()
        self.said.hear(frame)  # before the results: whoever has these may end the program
        if frame.HasField("results"):
            self._settle(frame.results)
        for decision in frame.flow_decisions:
            self.decisions.decide(decision)
        for run_id in frame.cancel_requests:
            self.decisions.stop(run_id)

    def on_fatal(self, error: TaskyardError) -> None:
        """Fail everything that is awaited: the session cannot go on."""
        self.fatal = error
        self.signalled = False  # so that whoever submits now looks at `fatal` once more
        outstanding, self._outstanding = self._outstanding, {}
        # Another thread may be settling some of these: each is settled by whoever takes it out.
        for run_id in list(outstanding):
            run = outstanding.pop(run_id, None)
            if run is not None:
                run.settle(error)
        self.decisions.fail_all(error)
        self.opened.set()

    def abandon(self, error: TaskyardError) -> None:
        """Be over in a forked child: locks may be held by threads that are not here, so nobody is woken."""
        self.fatal = error
        self.signalled = False
        for run in self._outstanding.values():
            run.put(error)

    def _tell_dropped_logs(self) -> None:
        dropped, self._logs.dropped = self._logs.dropped, 0
        if dropped:
            self.said.lost_logs(dropped)

    def _next_subscriptions(self) -> list[bytes]:
        wanted = self._subscriptions
        return [wanted.popleft() for _ in range(min(len(wanted), IDS_PER_FRAME))]

    def _repeat_open_work(self) -> None:
        # In this order, and in the same queue: a thread that begins to watch a run meanwhile notes the run
        # first and then asks for it, so either of the two is seen here or left alone.
        self._subscriptions.clear()
        open_runs = list(self._outstanding)
        on_their_way = self._on_their_way()
        self._subscriptions.extend([run_id for run_id in open_runs if run_id not in on_their_way])
        self._outbox.put_back(self._ending.requests())
        # Put before the requests: what reports tell happened before anybody asked for an end.
        self._outbox.put_back(self.decisions.take_unanswered())

    def _on_their_way(self) -> set[bytes]:
        """Return the runs that the server will hear of, or may hear of once more."""
        return self._sent.run_ids() | self._outbox.run_ids() | self._postponed

    def _settle(self, results: pb.ResultBatch) -> None:
        """Settle runs in bulk, and wake those who wait only when all are settled."""
        self.tally.note(results, self._outstanding)
        self.news += 1
        pop, small = self._outstanding.pop, SMALL_BYTES
        awaited = []
        for run_id, data in zip(results.run_ids, results.data, strict=True):
            run = pop(run_id, None)
            if run is not None:
                if run.put(data):
                    awaited.append(run)
                if len(data) > small:
                    run.weigh(len(data))
        awaited += self.ends.settle(self._outstanding, results.others)
        if self._ending:
            self._ending.forget((*results.run_ids, *(outcome.run_id for outcome in results.others)))
        for run in awaited:
            run.announce()

    def _apply_refusals(self, refusals: Refusals) -> None:
        early = self._asked_for_too_early(refusals)
        for run_id, error in refusals.errors:
            if run_id not in early:
                self._refuse(run_id, error)
        refused = {run_id for run_id, _ in refusals.errors} - early
        if refused:
            self._sent.give_up(refused)
        if refusals.overloaded:
            self._submit_later(refusals.overloaded, refusals.delay)

    def _asked_for_too_early(self, refusals: Refusals) -> set[bytes]:
        """Return the runs that the server does not know because they have yet to arrive.

        A thread notes a run and then queues it. A new stream that is welcomed in between takes the run for a
        durable one and subscribes to it.
        """
        unknown = {run_id for run_id in refusals.unknown if run_id in self._outstanding}
        return unknown & self._on_their_way() if unknown else unknown

    def _refuse(self, run_id: bytes, error: TaskyardError) -> None:
        self._ending.forget((run_id,))
        run = self._outstanding.pop(run_id, None)
        if run is not None:
            self.tally.note_refused(run)
            run.settle(error)
        else:
            self.decisions.refuse(run_id, error)

    def _submit_later(self, run_ids: set[bytes], delay: float) -> None:
        """Send runs once more that an overloaded server did not take."""
        groups = self._sent.parts_with(run_ids)
        self._postponed |= run_ids

        def put_back() -> None:
            self._postponed -= run_ids
            # With the requests to end them, which came when the server knew nothing of these runs.
            self._outbox.put_back([*groups, *self._ending.requests(run_ids)])
            self._wake()

        self._call_later(delay, put_back)
