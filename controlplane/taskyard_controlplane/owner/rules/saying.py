"""What runs say while they execute: log records, which are kept, and output, which is only shown."""

from collections.abc import Callable
from functools import partial
from itertools import chain, repeat
from typing import Final

from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.wire_text import NAME_LIMIT, bounded
from taskyard_controlplane.domain.model import Run, Submitter
from taskyard_controlplane.domain.retries import LATEST_US
from taskyard_controlplane.domain.succession import Succession
from taskyard_controlplane.owner.journal.journal import HIGHEST_LEVEL, Journal
from taskyard_controlplane.owner.journal.log_records import log_records
from taskyard_controlplane.owner.journal.rows import log_of
from taskyard_controlplane.owner.journal.run_book import RunBook
from taskyard_controlplane.owner.logs.writer import LogWriter
from taskyard_controlplane.owner.peers.agent_session import AgentSession
from taskyard_controlplane.owner.peers.client_session import ClientSession, Log
from taskyard_controlplane.owner.peers.pushed_output import Piece
from taskyard_controlplane.owner.rules.authority import may_log, owns
from taskyard_controlplane.owner.rules.listeners import listener_of

MAX_PIECE_BYTES: Final = 1024 * 1024
"""What agents send together is less."""

Shown = list[tuple[Submitter, Log]]
"""Log records, and to whom they are shown."""


class Saying:
    """Takes what agents and sessions say for the runs that they execute."""

    def __init__(self, book: RunBook, journal: Journal, succession: Succession, logs: LogWriter) -> None:
        """Take what runs of `book` say, and have `logs` keep it; `succession` says of which assignments
        nothing may be known.
        """
        self._logs = logs
        self._runs = book.runs
        self._flow_seq_of = book.flow_seq_of
        self._journal = journal
        self._succession = succession

    def logs(self, agent: AgentSession, logs: pb.LogBatch, number: int) -> None:
        """Keep log records of task runs, and show them; `number` is that of the agent's report, if any."""
        shown = self._keep(
            logs, lambda run_id: self._run_of(agent, run_id), agent.own_session_id, self._beside
        )
        self._show_once_stored(shown)
        if number:
            self._came(agent, number)

    def logs_of_flows(self, session: ClientSession, logs: pb.LogBatch, number: int, now_us: int) -> None:
        """Keep log records of flow runs, and show them where that is not up to the session itself: in the
        program of a task that has called a flow.

        What a run logs before it is durable itself goes into the commits: whatever happens, nothing is stored
        of a run that is not. What the session sends after that goes the same way, until that is durable.
        """
        runs = (self._owned_by(session, run_id) for run_id in set(logs.run_ids))
        in_commit = self._journal.holds_logs_of(session.session_id) or not all(
            self._journal.is_recorded(run) for run in runs if run is not None
        )
        keep = self._journal.logged if in_commit else self._beside
        shown = self._keep(logs, lambda run_id: self._owned_by(session, run_id), session.session_id, keep)
        if in_commit:
            _show(shown)
        else:
            self._show_once_stored(shown)
        if number and in_commit:
            self._journal.logs_came(session, number, now_us)
        elif number:
            self._came(session, number)

    def _show_once_stored(self, shown: Shown) -> None:
        """Show records that were kept beside the commits: before that a kill would have them come, and be
        shown, once more. A store of logs that hangs keeps nobody from seeing them for long.
        """
        if shown:
            self._logs.when_settled(self._logs.latest, partial(_show, shown))

    def _came(self, peer: AgentSession | ClientSession, number: int) -> None:
        self._logs.came(peer.session_id, number)
        self._journal.logs_beside(peer, number)

    def _beside(self, run: Run, flow_seq: int, at_us: int, level: int, logger: str, message: str) -> None:
        """Have a record stored beside the commits."""
        level = min(level, HIGHEST_LEVEL)
        self._logs.record(run.seq, log_of(run, flow_seq), at_us, level, logger, message)

    def _owned_by(self, session: Submitter, run_id: bytes) -> Run | None:
        run = self._runs.get(run_id)
        return run if run is not None and owns(session, run) else None

    def _keep(
        self,
        logs: pb.LogBatch,
        find: Callable[[bytes], Run | None],
        shown_by_itself: bytes,
        keep: Callable[[Run, int, int, int, str, str], None],
    ) -> Shown:
        """Keep log records of runs that `find` knows; returns what is to be shown to others than the session
        that has.
        """
        shown: Shown = []
        for run_id, at_us, level, logger, message, name in log_records(logs):
            run = find(run_id)
            if run is None:
                continue
            keep(run, self._flow_seq_of(run), at_us, level, logger, message)
            shown_by = listener_of(run, self._runs)
            if shown_by is not None and shown_by.session_id != shown_by_itself:
                shown.append((shown_by, (run_id, at_us, level, logger, message, name or run.shown_name)))
        return shown

    def output(self, agent: AgentSession, output: pb.OutputBatch) -> None:
        """Show what runs have written."""
        woken: dict[Submitter, None] = {}
        columns = zip(
            output.run_ids,
            output.at_us,
            output.streams,
            output.data,
            chain(output.run_names, repeat("")),
            strict=False,
        )
        for run_id, at_us, stream, data, name in columns:
            run = self._run_of(agent, run_id)
            shown_by = listener_of(run, self._runs) if run is not None else None
            if run is None or shown_by is None or len(data) > MAX_PIECE_BYTES:
                continue
            at_us = min(max(at_us, 0), LATEST_US)
            name = bounded(name, NAME_LIMIT) or run.shown_name
            shown_by.push_output(Piece(run_id, at_us, stream, data, name))
            woken[shown_by] = None
        for session in woken:
            session.wake()

    def _run_of(self, agent: AgentSession, run_id: bytes) -> Run | None:
        run = agent.held.get(run_id) or self._runs.get(run_id)
        return run if run is not None and may_log(agent, run, self._succession) else None


def _show(shown: Shown) -> None:
    woken: dict[Submitter, None] = {}  # in order
    for session, record in shown:
        session.push_log(record)
        woken[session] = None
    for session in woken:
        session.wake()
