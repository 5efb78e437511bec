"""The state of a session between its user threads and its stream: what to send, what is awaited.

Invariant: a run is in `outstanding` until its outcome arrived, a batch in `_unacked` until the control plane
made it durable, a flow report in `_unanswered` until its decision came, a run whose end was requested in
`_ending` until it has ended; so a new stream can always repeat exactly what may have been lost. Methods of
`StreamOwner` run on the portal's loop only.
"""

import os
import socket
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future as ThreadFuture
from typing import Final

from taskyard._data.values.awaited import AwaitedRun
from taskyard._network.server.loop_thread import portal
from taskyard._network.session.outbox import BYTES_PER_FRAME, IDS_PER_FRAME, Block, Outbox, cancels_of
from taskyard._network.session.templates import Template
from taskyard_api.v1 import common_pb2, template_pb2
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract import log_entry
from taskyard_contract.errors import BY_REASON, ErrorReason, Overloaded, TaskyardError
from taskyard_contract.id_factory import new_id
from taskyard_contract.log_entry import LogEntry
from taskyard_contract.payload_limits import MAX_INLINE_BYTES, MAX_PAYLOAD_BYTES
from taskyard_contract.states import FIRST_FINAL, RunState
from taskyard_contract.versions import PROTOCOL_MAX, PROTOCOL_MIN, VERSION

LOGS_PER_FRAME: Final = 1000

"""Run id, microseconds, level, logger, message, run name."""
Decision = ThreadFuture[pb.FlowDecision]
Batch = tuple[int, list[Block]]


class Exchange:
    """Everything a session has in flight; implements `StreamOwner`."""

    def __init__(self, locate: Callable[[], str], parent_run_id: bytes = b"") -> None:
        """Start with nothing in flight."""
        self.session_id = new_id()
        self.locate = locate
        self.max_inline_bytes = MAX_INLINE_BYTES
        self.max_payload_bytes = MAX_PAYLOAD_BYTES
        self.outbox = Outbox()
        self.outstanding: dict[bytes, AwaitedRun] = {}
        self.decisions: dict[bytes, Decision] = {}
        self.refused_flows: dict[bytes, TaskyardError] = {}
        self.logs: deque[LogEntry] = deque()
        self.subscriptions: deque[bytes] = deque()
        self.on_logs: Callable[[pb.LogBatch], None] | None = None
        self.on_cancel: dict[bytes, Callable[[], None]] = {}
        self.opened = threading.Event()
        self.signalled = False
        self.fatal: TaskyardError | None = None
        self.trouble = ""
        self.wake: Callable[[], None] = _nobody
        self._parent_run_id = parent_run_id
        self._window = 8
        self._batches = 0
        self._unacked: deque[Batch] = deque()
        self._resend: deque[Batch] = deque()
        self._unanswered: deque[pb.FlowReport] = deque()
        self._later: set[bytes] = set()
        """Runs that an overloaded server is asked to take once more after a while."""
        self._ending: dict[bytes, bool] = {}
        """Runs whose end was requested, and whether only unless they had started."""
        self._templates: dict[Template, int] = {}
        self._blobs_sent: set[bytes] = set()
        self._blobs_durable: set[bytes] = set()

    # What a stream asks for.

    def hello(self) -> pb.SessionHello:
        """Introduce the session."""
        return pb.SessionHello(
            protocol_min=PROTOCOL_MIN,
            protocol_max=PROTOCOL_MAX,
            session_id=self.session_id,
            client_name=f"{socket.gethostname()}:{os.getpid()} python-{VERSION}",
            parent_run_id=self._parent_run_id,
            resume=self.opened.is_set(),
        )

    def on_welcome(self, welcome: pb.SessionWelcome) -> None:
        """Take the server's limits; after a broken stream, prepare what must be repeated."""
        self.max_inline_bytes = welcome.max_inline_bytes or self.max_inline_bytes
        self.max_payload_bytes = welcome.max_payload_bytes or self.max_payload_bytes
        self._window = welcome.max_unacked_batches or self._window
        self._templates = {}
        self._blobs_sent = set(self._blobs_durable)
        if self.opened.is_set():
            self._repeat_open_work()
        self.opened.set()

    def next_frame(self) -> pb.ClientFrame | None:
        """Return what should be sent now, or None."""
        self.signalled = False
        if self._resend:
            number, blocks = self._resend.popleft()
            return pb.ClientFrame(submit=self._batch(number, blocks, resend=True))
        taken = self.outbox.take(with_blocks=len(self._unacked) < self._window)
        blocks, reports, cancels, withdrawn = taken
        self._unanswered.extend(reports)
        if cancels or withdrawn:
            self._note_ending(cancels, withdrawn)
        wanted = self._take_subscriptions()
        if not (blocks or reports or cancels or withdrawn or wanted or self.logs):
            return None
        frame = pb.ClientFrame(flow_reports=reports, cancel=cancels, withdraw=withdrawn, subscribe=wanted)
        if blocks:
            self._batches += 1
            self._unacked.append((self._batches, blocks))
            frame.submit.CopyFrom(self._batch(self._batches, blocks))
        if self.logs:
            frame.logs.CopyFrom(self._take_logs())
        return frame

    def on_frame(self, frame: pb.SessionFrame) -> None:
        """Take in what the server sent."""
        if frame.refused:
            self._take_refusals(frame)
        if frame.submitted_up_to:
            # Code that came with runs for which there was no room may not be stored either.
            full = ErrorReason.STORAGE_FULL in {int(refused.error.reason) for refused in frame.refused}
            self._forget_acknowledged(frame.submitted_up_to, blobs_stored=not full)
        if frame.HasField("results"):
            self._settle(frame.results)
        for decision in frame.flow_decisions:
            self._decide(decision)
        for run_id in frame.cancel_requests:
            on_cancel = self.on_cancel.get(run_id)
            if on_cancel is not None:
                on_cancel()
        if frame.HasField("logs") and self.on_logs is not None:
            self.on_logs(frame.logs)

    def on_fatal(self, error: TaskyardError) -> None:
        """Fail everything that is awaited: the session cannot go on."""
        self.fatal = error
        self.signalled = False
        outstanding, self.outstanding = self.outstanding, {}
        for future in outstanding.values():
            future.settle(error)
        for run_id in list(self.decisions):
            self._fail_decisions(run_id, error)
        self.opened.set()

    # What is sent.

    def _batch(self, number: int, blocks: list[Block], resend: bool = False) -> pb.SubmitBatch:
        batch = pb.SubmitBatch(number=number, resend=resend)
        for block in blocks:
            batch.groups.append(block.to_group(self._index_of(block.template, batch)))
        return batch

    def _index_of(self, template: Template, batch: pb.SubmitBatch) -> int:
        """Return a template's index on this stream, adding its definition if this is its first use."""
        index = self._templates.get(template)
        if index is None:
            index = self._templates[template] = len(self._templates) + 1
            batch.templates.append(template_pb2.TemplateDefinition(index=index, template=template.message))
            if template.code and template.digest not in self._blobs_sent:
                self._blobs_sent.add(template.digest)
                batch.blobs.append(common_pb2.InlineBlob(digest=template.digest, data=template.code))
        return index

    def _take_subscriptions(self) -> list[bytes]:
        wanted = self.subscriptions
        return [wanted.popleft() for _ in range(min(len(wanted), IDS_PER_FRAME))]

    def _take_logs(self) -> pb.LogBatch:
        batch, size = pb.LogBatch(), 0
        while self.logs and len(batch.run_ids) < LOGS_PER_FRAME and size < BYTES_PER_FRAME:
            entry = self.logs.popleft()
            log_entry.add_to(batch, entry)
            size += 4 * len(entry[4])  # no character of the message takes more bytes
        return batch

    def _repeat_open_work(self) -> None:
        self._resend = deque(self._unacked)
        sent_again = {run_id for _, blocks in self._unacked for block in blocks for run_id in block.run_ids}
        sent_again |= self.outbox.run_ids() | self._later
        self.subscriptions = deque(run_id for run_id in self.outstanding.copy() if run_id not in sent_again)
        for unless_started in (False, True):
            ids = [run_id for run_id, unless in self._ending.items() if unless == unless_started]
            self.outbox.put_back(cancels_of(ids, unless_started=unless_started))
        unanswered, self._unanswered = self._unanswered, deque()
        self.outbox.put_back(unanswered)  # what they tell happened before anybody asked for an end

    def _note_ending(self, cancels: list[bytes], withdrawn: list[bytes]) -> None:
        """Remember what was asked to end until it has ended: the request may be lost with the stream."""
        ending = self._ending
        ending.update((run_id, True) for run_id in withdrawn if run_id in self.outstanding)
        ending.update((run_id, False) for run_id in cancels if run_id in self.outstanding)

    # What arrives.

    def _forget_acknowledged(self, number: int, blobs_stored: bool) -> None:
        unacked, resend = self._unacked, self._resend
        while resend and resend[0][0] <= number:
            resend.popleft()
        while unacked and unacked[0][0] <= number:
            for block in unacked.popleft()[1]:
                if block.template.digest and blobs_stored:
                    self._blobs_durable.add(block.template.digest)

    def _settle(self, results: pb.ResultBatch) -> None:
        """Settle futures in bulk, and wake those who wait only when all are settled."""
        pop = self.outstanding.pop
        awaited = []
        for run_id, data in zip(results.run_ids, results.data, strict=True):
            future = pop(run_id, None)
            if future is not None and future.put(data):
                awaited.append(future)
        for outcome in results.others:
            future = pop(outcome.run_id, None)
            if future is not None and future.put(outcome):
                awaited.append(future)
        if self._ending:
            self._forget_ending(results)
        for future in awaited:
            future.announce()

    def _forget_ending(self, results: pb.ResultBatch) -> None:
        pop = self._ending.pop
        for run_id in results.run_ids:
            pop(run_id, None)
        for outcome in results.others:
            pop(outcome.run_id, None)

    def _decide(self, decision: pb.FlowDecision) -> None:
        state = int(decision.state)
        for index, report in enumerate(self._unanswered):
            if report.run_id == decision.run_id:
                if state == RunState.AWAITING_RETRY and decision.attempt <= report.attempt:
                    return  # what an earlier attempt was told, once more
                del self._unanswered[index]
                break
        if state < FIRST_FINAL and state != RunState.AWAITING_RETRY:
            return  # the answer to a start, for which nobody waits
        waiting = self.decisions.pop(decision.run_id, None)
        if waiting is not None:
            if waiting.set_running_or_notify_cancel():  # or whoever waited has gone
                waiting.set_result(decision)
        elif state >= FIRST_FINAL and decision.run_id in self.on_cancel:
            # It ended while its body still runs: the session's lease had lapsed, or somebody cancelled it.
            self.on_cancel[decision.run_id]()

    def _take_refusals(self, frame: pb.SessionFrame) -> None:
        overloaded: set[bytes] = set()
        delay = 0.0
        for refused in frame.refused:
            error = error_of(refused)
            if isinstance(error, Overloaded) and error.retry_after:
                overloaded.add(refused.run_id)
                delay = max(delay, error.retry_after)
            else:
                self._refuse(refused.run_id, error)
        if overloaded:
            self._submit_later(overloaded, delay)

    def _refuse(self, run_id: bytes, error: TaskyardError) -> None:
        future = self.outstanding.pop(run_id, None)
        self._ending.pop(run_id, None)
        if future is not None:
            future.settle(error)
        else:
            # Reports about a run that was refused are refused as well; the first reason is the cause.
            first = self.refused_flows.setdefault(run_id, error)
            self._fail_decisions(run_id, first)

    def _submit_later(self, run_ids: set[bytes], delay: float) -> None:
        """Send runs once more that an overloaded server did not take."""
        blocks = [part for _, sent in self._unacked for block in sent for part in block.parts_with(run_ids)]
        self._later |= run_ids

        def put_back() -> None:
            self._later -= run_ids
            self.outbox.put_back(blocks)
            self.wake()

        portal.loop().call_later(delay, put_back)

    def _fail_decisions(self, run_id: bytes, error: TaskyardError) -> None:
        self._unanswered = deque(report for report in self._unanswered if report.run_id != run_id)
        decision = self.decisions.pop(run_id, None)
        if decision is not None and decision.set_running_or_notify_cancel():
            decision.set_exception(error)


def error_of(refused: pb.RefusedRun) -> TaskyardError:
    """Return why a run was not accepted."""
    detail = refused.error
    kind = BY_REASON.get(detail.reason, TaskyardError)
    return kind(
        refused.message,
        run_id=refused.run_id,
        limit=detail.limit,
        retry_after=detail.retry_after_ms / 1000,
        address=detail.address,
    )


def _nobody() -> None:
    """No stream is open."""
