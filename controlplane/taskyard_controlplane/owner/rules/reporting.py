"""What agents report, applied to runs.

The loop over a chunk's ordinary outcomes is the busiest place of the whole system beside submission: it does
one dictionary lookup, one table lookup and one row per run.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import common_pb2
from taskyard_contract.blobs.names import may_name_result, name_of
from taskyard_contract.clock import Clock
from taskyard_contract.errors import InvalidRequest
from taskyard_contract.ids import ID_BYTES
from taskyard_contract.states import ReportKind, RunState, StateReason, known_reason
from taskyard_contract.wire_text import NAME_LIMIT, bounded
from taskyard_controlplane.domain.cache_keys import storable
from taskyard_controlplane.domain.events import RunEvent
from taskyard_controlplane.domain.machine import transition
from taskyard_controlplane.domain.model import BARE_ENCODING, BUFFERS_ENCODING, HELD, Run, Template
from taskyard_controlplane.domain.retries import LATEST_US
from taskyard_controlplane.domain.succession import Succession
from taskyard_controlplane.owner.journal.changes import Changes
from taskyard_controlplane.owner.journal.journal import Journal
from taskyard_controlplane.owner.journal.rows import cache_row
from taskyard_controlplane.owner.journal.run_book import RunBook
from taskyard_controlplane.owner.metrics import Metrics
from taskyard_controlplane.owner.named_blobs import blobs_of, blobs_of_failure, blobs_of_outcome
from taskyard_controlplane.owner.peers.agent_session import AgentSession
from taskyard_controlplane.owner.peers.kept_values import KeptValues
from taskyard_controlplane.owner.rules.authority import may_report
from taskyard_controlplane.owner.rules.outcome_messages import labelled, outcome_of_report, why_of
from taskyard_controlplane.owner.rules.saying import Saying
from taskyard_controlplane.owner.rules.settling import Settling, release, what_was_asked

SUCCEEDED: Final = int(RunEvent.SUCCEEDED)
COMPLETED: Final = int(RunState.COMPLETED)
RUNNING: Final = int(RunState.RUNNING)
_EVENTS: Final[dict[int, RunEvent]] = {
    ReportKind.SUCCEEDED: RunEvent.SUCCEEDED,
    ReportKind.FAILED: RunEvent.FAILED,
    ReportKind.CANCELLED: RunEvent.ENDED_CANCELLED,
    ReportKind.INTERRUPTED: RunEvent.INTERRUPTED,
    ReportKind.CACHE_KEY: RunEvent.CACHE_KEY_KNOWN,
}
_LOST_EVENTS: Final[dict[int, RunEvent]] = {
    StateReason.TIMED_OUT: RunEvent.FAILED,
    StateReason.CODE_UNAVAILABLE: RunEvent.FAILED_FOR_GOOD,
    StateReason.WAITING_REFUSED: RunEvent.FAILED,
}


class Reporting:
    """Turns frames of agents into events of runs."""

    def __init__(
        self,
        book: RunBook,
        journal: Journal,
        settling: Settling,
        changes: Changes,
        clock: Clock,
        metrics: Metrics,
        succession: Succession,
        saying: Saying,
        max_inline_bytes: int,
        kept_values: KeptValues,
    ) -> None:
        """Apply reports to runs of `book`; `succession` says of which assignments nothing may be known.

        That an agent has what its runs returned is noted in `kept_values`.
        """
        self._kept_values = kept_values
        self._max_inline_bytes = max_inline_bytes
        self._runs = book.runs
        self._saying = saying
        self._progress = book.progress
        self._journal = journal
        self._settling = settling
        self._changes = changes
        self._clock = clock
        self._metrics = metrics
        self._succession = succession

    def report(self, agent: AgentSession, frame: pb.AgentFrame) -> None:
        """Apply everything a frame reports; it is acknowledged with the commit.

        Raises:
            InvalidRequest: The frame is malformed; the agent has a defect.
        """
        # All of it before any of it is applied: a malformed frame ends the stream and leaves nothing behind.
        columns = [read_columns(agent, chunk) for chunk in frame.reports]
        logged_up_to = max(agent.last_report, agent.logged_up_to)
        if frame.HasField("logs") and not 0 < frame.report_number <= logged_up_to:
            self._saying.logs(agent, frame.logs, frame.report_number)
        if frame.HasField("output") and not 0 < frame.report_number <= agent.last_report:
            self._saying.output(agent, frame.output)
        for progress in frame.progress:
            self._progressed(agent, progress)
        agent.last_report = max(agent.last_report, frame.report_number)
        if frame.reports:
            agent.declines = agent.unreceived = 0  # it executes what it is sent
        for chunk, read in zip(frame.reports, columns, strict=True):
            self._chunk(agent, chunk, read)
        for started in frame.started:
            self._started(agent, started)
        for key in frame.given_back:
            run = self._find(agent, key.run_id, key.epoch)
            if run is not None:
                self.give_back(agent, run)
        for lost in frame.lost:
            self._lost(agent, lost)
        for key in frame.cancelled:
            self._simple(agent, key, RunEvent.ENDED_CANCELLED, StateReason.CANCEL_REQUESTED, "")
        if frame.report_number:
            self._journal.reported(agent, frame.report_number)

    def _find(self, agent: AgentSession, run_id: bytes, epoch: int) -> Run | None:
        run = agent.held.get(run_id) or self._runs.get(run_id)
        if run is not None and may_report(agent, run, epoch, self._succession):
            if run.epoch != epoch or (run.agent is None and run.state in HELD):
                # Assigned by an owner that did not live to record it: take the report's word.
                self.adopt(agent, run, epoch)
            return run
        self._metrics.stale_reports += 1
        return None

    def adopt(self, agent: AgentSession, run: Run, epoch: int) -> bool:
        """Let an agent hold a run that it may report about; False when nobody can hold it now."""
        self._settling.apply(run, RunEvent.ADOPTED)
        if run.state not in HELD:
            return False
        if run.agent is not None and run.agent is not agent:
            release(run)  # of two restated assignments the later one counts
        self._journal.works(agent, self._clock.now_us())
        run.epoch, run.agent = epoch, agent
        agent.held[run.run_id] = run
        if self._changes.watched:
            self._changes.noticed([run])
        return True

    def give_back(self, agent: AgentSession, run: Run) -> None:
        """Let others have a run first that an agent held and has not started."""
        if self._settling.apply(run, RunEvent.GIVEN_BACK, reason=StateReason.GIVEN_BACK, message=""):
            run.declined_by = agent

    def _chunk(self, agent: AgentSession, chunk: pb.ReportChunk, read: "ReadColumns") -> None:
        columns, started, durations = read
        if len(chunk.columns) > self._max_inline_bytes:
            refuse_large(columns, self._max_inline_bytes)
        run_ids, results = chunk.run_ids, list(columns.results)
        exceptions = {entry.position: entry for entry in columns.exceptions} if columns.exceptions else None
        if exceptions is not None and self._kept_values.any:
            self._kept_values.note(agent, (entry.result.blob for entry in exceptions.values()))
        self._journal.counted(len(chunk.columns))
        base_us, epoch, held = columns.base_us, chunk.first_epoch, agent.held
        number = agent.identity.number
        # The lists of the open commit are taken once and rows are made in place, because this loop runs once
        # for every run there is: the verbs of the journal would cost as much as all of the rest of it.
        commit = self._journal.open
        ended_rows, cache_rows, effects_of = commit.rows.ended, commit.rows.cache, commit.effects
        completed = 0
        template: Template | None = None
        for position in range(len(results)):
            run_id = run_ids[position * ID_BYTES : position * ID_BYTES + ID_BYTES]
            run = held.get(run_id)
            if run is None or run.epoch != epoch + position:
                run = self._find(agent, run_id, epoch + position)
                if run is None:
                    continue
            template = run.template
            began = base_us + started[position]
            if exceptions is not None and position in exceptions:
                report = exceptions[position]
                self._exception(run, report, results[position], began, began + durations[position])
                continue
            effects = transition(run, SUCCEEDED)
            if not effects:
                continue
            run.started_us, run.ended_us, run.reason = began, began + durations[position], 0
            if run.agent is not None:
                release(run)
            if run.state != COMPLETED:
                # The run was being cancelled: what it returned is not what was promised.
                run.reason = StateReason.CANCEL_REQUESTED
                self._settling.settle(run, effects, run.attempt, run.started_us)
                continue
            if template.bare:
                result = run.result = results[position]
            else:
                run.message = ""
                result, run.outcome = None, labelled(run, results[position])
            completed += 1
            ended_rows.append(  # `rows.ended_row`
                (COMPLETED, 0, run.attempt, run.infra_retries, run.epoch,
                 began, run.ended_us, result, run.outcome, number, run.seq)
            )  # fmt: skip
            if run.cache_key is not None:
                cache_rows.append(cache_row(run, self._clock.now_us()))
            effects_of.append((run, effects))
        if template is not None:
            template.took(len(results), sum(durations))
        if completed:
            self._journal.touch()
            self._metrics.count_ended(COMPLETED, completed)

    def _exception(
        self, run: Run, report: pb.ReportException, inline: bytes, started_us: int, ended_us: int
    ) -> None:
        if report.HasField("result") and not may_be_in(run.template, report.result.encoding):
            refuse_encoding(report, run.template)
        blobs = named_in(report)
        if blobs:
            refuse_names(report, run, blobs)
        event = _EVENTS[report.kind]
        if event == RunEvent.FAILED and report.not_retriable:
            event = RunEvent.FAILED_FOR_GOOD
        attempt, asked = run.attempt, what_was_asked(run)
        effects = transition(run, event)
        if not effects:
            return
        if event == RunEvent.CACHE_KEY_KNOWN:
            run.cache_key = storable(report.cache_key)
            if not run.ended:
                self._journal.key_known(run)
        run.started_us = started_us
        if report.run_name:
            run.name = bounded(report.run_name, NAME_LIMIT)
        run.reason, run.message = known_reason(report.reason), bounded(report.message)
        if asked and run.reason != StateReason.STATE_BY_HAND:
            run.message = asked
        state_name = bounded(report.state_name, NAME_LIMIT)
        if run.ended:
            run.ended_us = ended_us
            if run.state == RunState.CANCELLED and event != RunEvent.ENDED_CANCELLED:
                run.reason, state_name = StateReason.CANCEL_REQUESTED, ""
            else:
                run.outcome = outcome_of_report(run, report, inline)
                if blobs:
                    self._journal.result_named(run, blobs_of_outcome(run.outcome))
        why = "" if run.ended else why_of(report.failure, run)
        self._settling.settle(run, effects, attempt, started_us, state_name, why)

    def _started(self, agent: AgentSession, started: pb.StartedRun) -> None:
        # Only what a hello restated, or this owner assigned, is held: to be told that a run started, long ago
        # perhaps, is no proof that it still executes.
        run = agent.held.get(started.key.run_id)
        if run is None or run.epoch != started.key.epoch:
            return
        if transition(run, RunEvent.STARTED) and run.state == RUNNING:
            run.started_us = max(self._clock.now_us() - started.running_ms * 1000, run.submitted_us)
            if self._changes.watched:
                self._changes.noticed([run])

    def _progressed(self, agent: AgentSession, progress: pb.RunProgress) -> None:
        """Keep what a run says of its progress, for people and for its next attempt. It is not recorded."""
        run, details = agent.held.get(progress.key.run_id), progress.details
        if run is None or run.epoch != progress.key.epoch or run.ended:
            return
        # Larger details, or such as an agent would have to fetch, are no defect that should end a stream.
        if not details.HasField("blob") and details.ByteSize() <= self._max_inline_bytes + NAME_LIMIT:
            self._progress.note(run.run_id, details)

    def _simple(
        self, agent: AgentSession, key: pb.RunKey, event: RunEvent, reason: int, message: str
    ) -> None:
        run = self._find(agent, key.run_id, key.epoch)
        if run is not None:
            self._settling.apply(run, event, reason=reason, message=bounded(message))

    def _lost(self, agent: AgentSession, lost: pb.LostRun) -> None:
        run = self._find(agent, lost.key.run_id, lost.key.epoch)
        if run is None:
            return
        event = _LOST_EVENTS.get(lost.reason, RunEvent.LOST)
        if event == RunEvent.FAILED_FOR_GOOD and run.has_large_inputs:
            # Its inputs were to be fetched under a name that a restarted server does not know.
            event = RunEvent.LOST
        reason = known_reason(lost.reason) or StateReason.WORKER_DIED
        self._settling.apply(run, event, reason=reason, message=bounded(lost.message))


class ReadColumns(NamedTuple):
    """What a worker wrote about some runs, and the times of it, as they are asked for run by run."""

    columns: pb.ReportColumns
    started_us: list[int]
    durations_us: list[int]


def read_columns(agent: AgentSession, chunk: pb.ReportChunk) -> ReadColumns:
    """Read what a worker wrote about some runs.

    Raises:
        InvalidRequest: It is no such message, its columns differ in length, or hold what cannot be.
    """
    try:
        columns = pb.ReportColumns.FromString(chunk.columns)
    except DecodeError as error:
        raise InvalidRequest(f"a report of agent '{agent.name}' is not a ReportColumns message") from error
    started, durations = list(columns.started_us), list(columns.durations_us)
    for times in ([columns.base_us], started, durations):
        if times and not 0 <= min(times) <= max(times) <= LATEST_US:
            raise InvalidRequest(f"a report of agent '{agent.name}' has times that are beyond all dates")
    count = len(chunk.run_ids) // ID_BYTES
    lengths = len(columns.results), len(started), len(durations)
    if lengths != (count, count, count):
        raise InvalidRequest(
            f"a report of agent '{agent.name}' names {count} runs but has {lengths[0]} results, "
            f"{lengths[1]} start times and {lengths[2]} durations"
        )
    unknown = next((entry.kind for entry in columns.exceptions if entry.kind not in _EVENTS), None)
    if unknown is not None:
        raise InvalidRequest(f"a report of agent '{agent.name}' has the unknown kind {unknown}")
    return ReadColumns(columns, started, durations)


def refuse_large(columns: pb.ReportColumns, limit: int) -> None:
    """Replace what is larger than its agent was told to send inline by the report that it was refused.

    It is the same that an agent reports of a result which no server takes. A frame that is refused as a whole
    would be sent again, for ever, and hold up everything else the agent has to say.
    """
    by_position = {entry.position: entry for entry in columns.exceptions}
    for position, result in enumerate(columns.results):
        entry = by_position.get(position)
        size = max(len(result), len(entry.result.data) if entry is not None else 0)
        if size <= limit:
            continue
        columns.results[position] = b""
        if entry is None:
            entry = columns.exceptions.add(position=position)
        text = f"the result has {size:,} bytes inline, the server takes {limit:,}; agents send more as blobs"
        _refuse(entry, "PayloadTooLarge", text)


def may_be_in(template: Template, encoding: str) -> bool:
    """Whether a result of a template may name an encoding: its own, which nobody can take for another."""
    known = template.result_encoding
    if template.bare and encoding == BUFFERS_ENCODING:
        return True
    return encoding in ("", known) or (not known and encoding != BARE_ENCODING)


def refuse_encoding(entry: pb.ReportException, template: Template) -> None:
    """Replace a result in another encoding than its template names: whoever reads it was told that one."""
    _refuse(
        entry,
        "InvalidEncoding",
        f"the result is in '{bounded(entry.result.encoding, NAME_LIMIT)}', those of '{template.name}' are in "
        f"'{template.result_encoding}'",
    )


def named_in(entry: pb.ReportException) -> list[common_pb2.BlobRef]:
    """Return the blobs that a report refers to; mostly there are none."""
    blobs = list(blobs_of(entry.result)) if entry.HasField("result") else []
    if entry.HasField("failure"):
        blobs += blobs_of_failure(entry.failure)
    return blobs


def refuse_names(entry: pb.ReportException, run: Run, blobs: Iterable[common_pb2.BlobRef]) -> None:
    """Replace a result that names a blob which this attempt cannot have made: it would be read as its own."""
    for ref in blobs:
        if not may_name_result(ref, run.run_id, run.epoch):
            text = (
                f"the result names the blob {bounded(name_of(ref), NAME_LIMIT)!r}; an attempt names its "
                "result by its run and epoch, or by the hash of the content"
            )
            _refuse(entry, "InvalidBlobName", text)
            return


def _refuse(entry: pb.ReportException, kind: str, text: str) -> None:
    position = entry.position
    entry.Clear()
    entry.position = position
    entry.kind = ReportKind.FAILED.value  # type: ignore[assignment]  # numerically equal
    entry.reason = StateReason.RESULT_REFUSED.value  # type: ignore[assignment]
    entry.not_retriable = True
    entry.message = text
    entry.failure.type, entry.failure.message = kind, text
