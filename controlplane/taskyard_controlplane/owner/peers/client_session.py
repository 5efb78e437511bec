"""Live sessions of clients: what is to be sent to each, gathered until its stream writes the next frame.

What is gathered has a window (`push_window`). Results beyond it are owed and read back from the database when
the client has read others; log records beyond it are only in the database, and the client is told how many.
"""

from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Final

from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.errors import Overloaded, RunNotFound, TaskyardError
from taskyard_contract.ids import format_id
from taskyard_controlplane.domain.memory import DEFAULT_MEMORY, Kept, MemoryLimits, size_of
from taskyard_controlplane.domain.model import Run
from taskyard_controlplane.owner.peers.peer import NOBODY, Caller, Close, Peer, Wake
from taskyard_controlplane.owner.peers.push_window import OVERHEAD, Owed, Pool, Share
from taskyard_controlplane.owner.peers.pushed_output import Piece, PushedOutput
from taskyard_controlplane.owner.peers.refused_runs import refused_run
from taskyard_controlplane.owner.peers.sent_templates import SentTemplates

MAX_RESULTS_PER_FRAME: Final = 2048
"""A client should begin to work on results while the next ones are written."""
MAX_RESULT_BYTES: Final = 1024 * 1024
"""Enough that a frame costs little beside what is in it, and little enough to be all that a client which does
not read has under way."""
MAX_LOGS_PER_FRAME: Final = 1000
"""So that a frame ends."""
MOST_HELD: Final = 64
"""Frames for which results wait for what was said before them: more than a window of that takes. Whoever goes
on talking faster than his program reads must not keep others' results for ever."""
MAX_REFUSED_PER_FRAME: Final = 4096
"""A refusal with its text has some 250 bytes: a megabyte."""
MAX_POSTPONED: Final = 200_000
"""Far more runs than a client has under way in unacknowledged batches."""
MAX_UNHEARD: Final = 4 * MAX_REFUSED_PER_FRAME
"""Answers that wait before no more questions are read."""
MAX_READ_BACK: Final = 2048
"""Results that are read back at a time."""

Log = tuple[bytes, int, int, str, str, str]
Outcome = tuple[bytes | None, bytes | None]
"""A bare result, or the outcome of a run whose result is not all there is to say."""


class Windows:
    """How much all sessions of a shard have in memory for their clients, and who reads back what is not."""

    def __init__(self, limits: MemoryLimits = DEFAULT_MEMORY) -> None:
        """Hold what `limits` say."""
        self.limits = limits
        self.results = Pool(limits.pushed)
        self.logs = Pool(limits.pushed)
        self.output = Pool(limits.pushed)
        self.read_back: Callable[[ClientSession], None] = _never
        """Reads what a session is owed, as far as there is room. The shard sets it."""


def _never(session: "ClientSession") -> None:
    """Read nothing back where there is no database."""


def fitting(items: list[bytes]) -> int:
    """Return how many of some payloads fit into a frame; at least one, if there are any."""
    items = items[:MAX_RESULTS_PER_FRAME]
    size = sum(map(len, items))
    count = len(items)
    while size > MAX_RESULT_BYTES and count > 1:
        count -= 1
        size -= len(items[count])
    return count


def share_number(session_id: bytes | None) -> int:
    """Return the number under which the runs of a session take turns with those of others; 0 for no session.

    Agents are told it, and the backlog is kept by it: so it is the same after a restart, and does not give
    away the id, which opens the session to whoever has it.
    """
    if not session_id:
        return 0
    return int.from_bytes(blake2b(session_id, digest_size=8).digest(), "big") or 1


class ClientSession(Peer):
    """One process that submits runs and waits for their outcomes."""

    def __init__(
        self,
        session_id: bytes,
        name: str,
        caller_run_id: bytes,
        now: float,
        windows: Windows | None = None,
    ) -> None:
        """Open a session that shares `windows` with others; `now` is monotonic."""
        super().__init__(name)
        self.session_id = session_id
        self.share = share_number(session_id)
        self.caller_run_id = caller_run_id
        self.says_ends = True
        """As its hello says; after a restart, before it, as nearly all say: nothing is to be shown twice."""
        self.disconnected_at: float | None = now
        self.templates: dict[int, int] = {}
        """Numbers of the templates it has sent on this stream, by what it calls them."""
        self.sent_templates = SentTemplates()
        self.executing: dict[bytes, Run] = {}
        """Runs whose bodies it executes itself: flow runs. Kept by the run book."""
        self.holds_from = b""
        """Up to this id, runs of it that have ended may go: the program has let go of them."""
        self.attachments = 0
        """How many streams it has had."""
        self.may_be_in_backlog = True
        """Whether runs of it may be only in the database. Kept by whoever opens it, and by submission."""
        self.held_bytes = 0
        """Payload of its open runs that is in memory. Kept by the ledger."""
        self._result_ids: list[bytes] = []
        self._result_data: list[bytes] = []
        self._others: list[bytes] = []
        self._refused: list[pb.RefusedRun] = []
        self.refused_since: set[bytes] | None = None
        """Runs refused on this stream, until what the last one left open has been resent."""
        self.postponed: dict[bytes, None] = {}
        """Runs that it was asked to submit again later, and has not yet: whatever needs them has to wait."""
        self._decisions: list[pb.FlowDecision] = []
        self._cancel_requests: list[bytes] = []
        self._logs: list[Log] = []
        self._dropped_logs = 0
        self.logs_received = 0
        """The number up to which its own log records have come."""
        self.logs_durable = 0
        """The number up to which they are durable."""
        self._logs_said = self._streams = 0
        self._windows = windows or Windows()
        limits = self._windows.limits
        self._results_share = Share(self._windows.results, limits.pushed_results)
        self._logs_share = Share(self._windows.logs, limits.pushed_logs)
        self._output = PushedOutput(self._windows.output, limits.pushed_output)
        self._held = 0
        """For how many frames results have been waiting for what was said before them."""
        self._owed = Owed()
        self._reading_back = 0
        """How much room is kept for what is being read back; 0 when nothing is."""
        self._at_once = False
        """Whether somebody is connected, who is owed nothing: an outcome that has room is sent."""
        self._left_writing: dict[Wake, tuple[int, int, int]] = {}
        """What streams of the past are still writing, of results, of logs and of output."""

    @property
    def listens(self) -> bool:
        """Whether it takes in the answers to what it sends: these cannot be dropped, and have no window."""
        return len(self._refused) + len(self._decisions) <= MAX_UNHEARD

    def attach(self, wake: Wake, close: Close, caller: Caller = NOBODY) -> None:
        """Attach a stream. Templates are per stream; what was not sent on the old one is repeated by need:
        the client resends, reports and subscribes again, so nothing is kept for it here.
        """
        self._forgo()
        super().attach(wake, close, caller)
        self.durable_up_to = 0  # of what is sent on this stream
        self.disconnected_at = None
        self._at_once = True
        self.attachments += 1
        self.templates, self._decisions, self._cancel_requests = {}, [], []
        self._refused, self.refused_since = [], set()
        self._logs_said = 0  # said again: it may have been lost with the stream before

    def lose_stream(self, now: float) -> None:
        """Note that the stream is gone; the lease starts. What was not sent on it is given up: a client that
        comes back asks for it again.
        """
        self._forgo()
        self.detach()
        self.disconnected_at = now

    def _forgo(self) -> None:
        self._streams += 1
        self._result_ids, self._result_data, self._others = [], [], []
        self._logs, self._dropped_logs = [], 0
        self._owed.clear()
        self._reading_back = 0
        self._at_once = False
        writing = self._results_share.forgo(), self._logs_share.forgo(), self._output.forgo()
        if any(writing):
            self._left_writing[self.wake] = writing

    def stream_ended(self, wake: Wake) -> None:
        """Note that nothing is written any more on the stream with this `wake`, which may be a former one."""
        results, logs, output = self._left_writing.pop(wake, (0, 0, 0))
        self._results_share.returned(results)
        self._logs_share.returned(logs)
        self._output.returned(output)

    def settle_batches(self, number: int, stream: int) -> None:
        """Say that the batches up to a number are settled, which came on its n-th `stream` (`attachments`).

        Of a former stream nothing is said: what was refused of these batches may have been lost with it. They
        are resent, as long as they are not acknowledged, and then what was not refused is known.
        """
        if stream == self.attachments:
            self.acknowledge(number)

    def push_result(self, run_id: bytes, result: bytes | None, outcome: bytes | None) -> None:
        """Send an outcome, which is durable. Call `wake` after the last one."""
        payload = outcome if outcome is not None else result or b""
        size, share = len(payload) + OVERHEAD, self._results_share
        if (size > share.room or not self._at_once) and not self._may_push(run_id, size):
            return
        share.room -= size
        if outcome is not None:
            self._others.append(payload)
        else:
            self._result_ids.append(run_id)
            self._result_data.append(payload)

    def _may_push(self, run_id: bytes, size: int) -> bool:
        """Whether an outcome may be sent now; if there is somebody to send it to, it is owed otherwise."""
        if self.disconnected_at is not None:
            return False
        # What is owed comes first, or those who came late would be served for ever.
        if self._at_once and self._results_share.widen(size):
            return True
        self._owe(run_id, size)
        return False

    def _owe(self, run_id: bytes, size: int) -> None:
        self._owed.add(run_id, size)
        self._at_once = False

    def push_stored(self, run_id: bytes, result: Kept, outcome: Kept) -> None:
        """Send an outcome, of which only the size was read if it is large. Call `read_on` in the end."""
        if not isinstance(result, int) and not isinstance(outcome, int):
            self.push_result(run_id, result, outcome)
        elif self.disconnected_at is None:
            self._owe(run_id, (size_of(outcome) or size_of(result)) + OVERHEAD)

    def next_owed(self) -> tuple[list[bytes], int]:
        """Return the runs whose outcomes are to be read back now, with the number of the stream they are for;
        no runs, while there is too little room or others are being read.
        """
        share = self._results_share
        much = self._windows.limits.pushed_results // 2
        if self._reading_back or not self._owed or share.used > much:
            return [], self._streams
        run_ids, self._reading_back = self._owed.take(share, MAX_READ_BACK)
        return run_ids, self._streams

    def paid(self, stream: int, run_ids: list[bytes], outcomes: Mapping[bytes, Outcome]) -> None:
        """Take in what was read back for a stream, and send it if that is still the one. A run of which
        nothing was found is none any more.
        """
        if stream != self._streams or self.disconnected_at is not None:
            return
        left = self._reading_back
        for run_id, (result, outcome) in outcomes.items():
            left -= len(outcome if outcome is not None else result or b"") + OVERHEAD
            if outcome is not None:
                self._others.append(outcome)
            else:
                self._result_ids.append(run_id)
                self._result_data.append(result or b"")
        self._reading_back = 0
        self._at_once = not self._owed
        self._results_share.room += left
        for run_id in run_ids:
            if run_id not in outcomes:
                text = f"there is no run {format_id(run_id)} any more"
                self.refuse(run_id, RunNotFound(text, run_id=run_id))
        self.wake()

    def written(self) -> None:
        """Note that the last frame is with the client, as far as gRPC can tell, which makes room for more."""
        self._results_share.sent()
        self._logs_share.sent()
        self._output.sent()
        self.read_on()
        if self._dropped_logs or self._output.has_dropped:
            self.wake()
        self.go_on()

    def read_on(self) -> None:
        """Have what is owed read back, as far as there is room for it."""
        if self._owed and not self._reading_back:
            self._windows.read_back(self)

    def refuse(self, run_id: bytes, error: TaskyardError) -> None:
        """Say that a run was not accepted."""
        if self.refused_since is not None:
            self.refused_since.add(run_id)
        if isinstance(error, Overloaded) and len(self.postponed) < MAX_POSTPONED:
            self.postponed[run_id] = None
        self._refused.append(refused_run(run_id, error))

    def decide(self, decision: pb.FlowDecision) -> None:
        """Have the next frame tell what was decided about a flow report, after its commit."""
        self._decisions.append(decision)

    def request_cancel(self, flow_run_id: bytes) -> None:
        """Ask the client to end the body of a flow run."""
        self._cancel_requests.append(flow_run_id)
        self.wake()

    def push_log(self, record: Log) -> None:
        """Send a log record: run id, time, level, logger, message, run name."""
        if self.disconnected_at is not None:
            return
        if self._logs_share.take(log_size(record)):
            self._logs.append(record)
        else:
            self._dropped_logs += 1

    def push_output(self, piece: tuple[bytes, int, int, bytes, str]) -> None:
        """Send what a run has written."""
        if self.disconnected_at is None:
            self._output.push(Piece(*piece))

    def next_frame(self) -> pb.SessionFrame | None:
        """Return what there is to send, None for nothing. To be called when the last frame is `written`."""
        frame = pb.SessionFrame()
        used = False
        if self._refused or self._decisions or self._cancel_requests or self._reconnect_after_ms:
            self._write_rare(frame)
            used = True
        # A batch counts as settled for the client once it is acknowledged: refusals come first.
        if self.durable_up_to > self._said_up_to and not self._refused:
            frame.submitted_up_to = self._said_up_to = self.durable_up_to
            used = True
        if self.logs_durable > self._logs_said:
            frame.logs_up_to = self._logs_said = self.logs_durable
            used = True
        if self._logs:
            self._write_logs(frame.logs)
            used = True
        elif self._dropped_logs:  # said once for all that fell out of one burst
            frame.dropped_logs, self._dropped_logs = self._dropped_logs, 0
            used = True
        if self._output:
            self._output.write_into(frame)
            if self._output:
                self.wake()
            used = True
        if (self._result_ids or self._others) and not self._come_later():
            self._write_results(frame.results)
            used = True
        return frame if used else None

    def _come_later(self) -> bool:
        """Whether results wait for what was said before them: a program may end as soon as it has these."""
        if not (self._logs or self._dropped_logs or self._output):
            self._held = 0
            return False
        self._held += 1
        self.wake()
        return self._held <= MOST_HELD

    def _write_results(self, results: pb.ResultBatch) -> None:
        count = fitting(self._result_data)
        data, others = self._result_data[:count], self._others[: fitting(self._others)]
        results.run_ids.extend(self._result_ids[:count])
        results.data.extend(data)
        for outcome in others:
            results.others.add().MergeFromString(outcome)
        self._results_share.sending(_size(data) + _size(others))
        del self._result_ids[:count], self._result_data[:count], self._others[: len(others)]
        if self._result_ids or self._others:
            self.wake()

    def _write_logs(self, batch: pb.LogBatch) -> None:
        count = fitting([record[4].encode() for record in self._logs[:MAX_LOGS_PER_FRAME]])
        records, self._logs = self._logs[:count], self._logs[count:]
        self._logs_share.sending(sum(map(log_size, records)))
        run_ids, at_us, levels, loggers, messages, names = zip(*records, strict=True)
        batch.run_ids.extend(run_ids)
        batch.at_us.extend(at_us)
        batch.levels.extend(levels)
        batch.loggers.extend(loggers)
        batch.messages.extend(messages)
        batch.run_names.extend(names)
        if self._logs or self._dropped_logs:
            self.wake()

    def _write_rare(self, frame: pb.SessionFrame) -> None:
        frame.refused.extend(self._refused[:MAX_REFUSED_PER_FRAME])
        frame.flow_decisions.extend(self._decisions)
        frame.cancel_requests.extend(self._cancel_requests)
        frame.reconnect_after_ms, self._reconnect_after_ms = self._reconnect_after_ms, 0
        self._refused = self._refused[MAX_REFUSED_PER_FRAME:]
        self._decisions, self._cancel_requests = [], []
        if self._refused:
            self.wake()


def _size(payloads: list[bytes]) -> int:
    return sum(map(len, payloads)) + OVERHEAD * len(payloads)


def log_size(record: Log) -> int:
    """Return how much a log record counts, by characters."""
    return OVERHEAD + len(record[3]) + len(record[4]) + len(record[5])
