"""Live sessions of clients: what is to be sent to each, gathered until its stream writes the next frame."""

from typing import Final

from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.errors import Overloaded, TaskyardError
from taskyard_contract.transport.rpc_errors import to_detail
from taskyard_controlplane.domain.model import Run, Template
from taskyard_controlplane.owner.peers.peer import NOBODY, Caller, Close, Peer, Wake

MAX_RESULTS_PER_FRAME: Final = 2048
"""A client should begin to work on results while the next ones are written."""
MAX_RESULT_BYTES: Final = 4 * 1024 * 1024
"""Far below what the transport takes, because other things are in the frame as well."""
MAX_LOGS_PER_FRAME: Final = 1000
"""So that results do not wait behind somebody's chatter."""
MAX_REFUSED_PER_FRAME: Final = 4096
"""A refusal with its text has some 250 bytes: a megabyte."""

MAX_POSTPONED: Final = 200_000
"""Far more runs than a client has under way in unacknowledged batches."""


def fitting(items: list[bytes]) -> int:
    """Return how many of some payloads fit into a frame; at least one, if there are any."""
    size = 0
    for count, item in enumerate(items[:MAX_RESULTS_PER_FRAME]):
        size += len(item)
        if size > MAX_RESULT_BYTES and count:
            return count
    return min(len(items), MAX_RESULTS_PER_FRAME)


class ClientSession(Peer):
    """One process that submits runs and waits for their outcomes."""

    def __init__(self, session_id: bytes, name: str, caller_run_id: bytes, now: float) -> None:
        """Open a session; `now` is monotonic."""
        super().__init__(name)
        self.session_id = session_id
        self.caller_run_id = caller_run_id
        self.disconnected_at: float | None = now
        self.templates: dict[int, Template] = {}
        self.executing: dict[bytes, Run] = {}
        """Runs whose bodies it executes itself: flow runs. Kept by the run book."""
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
        self._logs: list[tuple[bytes, int, int, str, str, str]] = []

    def attach(self, wake: Wake, close: Close, caller: Caller = NOBODY) -> None:
        """Attach a stream. Templates are per stream; what was not sent on the old one is repeated by need:
        the client resends, reports and subscribes again, so nothing is kept for it here.
        """
        super().attach(wake, close, caller)
        self.disconnected_at = None
        self.templates = {}
        self._result_ids, self._result_data, self._others = [], [], []
        self._decisions, self._cancel_requests = [], []
        self._refused, self.refused_since = [], set()

    def lose_stream(self, now: float) -> None:
        """Note that the stream is gone; the lease starts."""
        self.detach()
        self.disconnected_at = now

    def push_result(self, run_id: bytes, result: bytes | None, outcome: bytes | None) -> None:
        """Send an outcome. Call `wake` after the last one."""
        if self.disconnected_at is not None:
            return
        if outcome is not None:
            self._others.append(outcome)
        else:
            self._result_ids.append(run_id)
            self._result_data.append(result or b"")

    def refuse(self, run_id: bytes, error: TaskyardError) -> None:
        """Say that a run was not accepted."""
        if self.refused_since is not None:
            self.refused_since.add(run_id)
        if isinstance(error, Overloaded) and len(self.postponed) < MAX_POSTPONED:
            self.postponed[run_id] = None
        self._refused.append(pb.RefusedRun(run_id=run_id, error=to_detail(error), message=str(error)))

    def decide(self, decision: pb.FlowDecision) -> None:
        """Have the next frame tell what was decided about a flow report, after its commit."""
        self._decisions.append(decision)

    def request_cancel(self, flow_run_id: bytes) -> None:
        """Ask the client to end the body of a flow run."""
        self._cancel_requests.append(flow_run_id)
        self.wake()

    def push_log(self, record: tuple[bytes, int, int, str, str, str]) -> None:
        """Send a log record: run id, time, level, logger, message, run name."""
        if self.disconnected_at is None:
            self._logs.append(record)

    def next_frame(self) -> pb.SessionFrame | None:
        """Return what there is to send, None for nothing."""
        frame = pb.SessionFrame()
        used = False
        if self._refused or self._decisions or self._cancel_requests or self._reconnect_after_ms:
            self._write_rare(frame)
            used = True
        # A batch counts as settled for the client once it is acknowledged: refusals come first.
        if self.durable_up_to > self._said_up_to and not self._refused:
            frame.submitted_up_to = self._said_up_to = self.durable_up_to
            used = True
        if self._logs:
            self._write_logs(frame.logs)
            used = True
        if self._result_ids or self._others:
            self._write_results(frame.results)
            used = True
        return frame if used else None

    def _write_results(self, results: pb.ResultBatch) -> None:
        count = fitting(self._result_data)
        results.run_ids.extend(self._result_ids[:count])
        results.data.extend(self._result_data[:count])
        del self._result_ids[:count], self._result_data[:count]
        count = fitting(self._others)
        for outcome in self._others[:count]:
            results.others.add().MergeFromString(outcome)
        del self._others[:count]
        if self._result_ids or self._others:
            self.wake()

    def _write_logs(self, batch: pb.LogBatch) -> None:
        count = fitting([record[4].encode() for record in self._logs[:MAX_LOGS_PER_FRAME]])
        records, self._logs = self._logs[:count], self._logs[count:]
        run_ids, at_us, levels, loggers, messages, names = zip(*records, strict=True)
        batch.run_ids.extend(run_ids)
        batch.at_us.extend(at_us)
        batch.levels.extend(levels)
        batch.loggers.extend(loggers)
        batch.messages.extend(messages)
        batch.run_names.extend(names)
        if self._logs:
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
