"""What becomes of rows that no database can hold: each takes along its run, and nothing else.

The checks at the doors are there so that this never happens. Where one is missing, a number or a text that is
too large for its column would otherwise refuse every commit it is in, and the agent that sent it would send
it again to the next server. So the run it is about ends, with a reason: a new one is refused, one that was
recorded crashes. What stands in the place of the row goes into the same commit, before anything of that is
acknowledged: whoever reported the run hears that the report is durable when its end is.

Rows that are about no run's fate are left out: a log record is replaced by one that says so, a cached result
will be computed once more, a dispatch may be repeated after a restart.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

from taskyard_api.v1.session_service_pb2 import FlowDecision
from taskyard_contract.clock import Clock
from taskyard_contract.for_people.run_lines import is_end
from taskyard_contract.states import RunState
from taskyard_controlplane.domain.model import Run
from taskyard_controlplane.owner.after_commit.refusals import Refusals
from taskyard_controlplane.owner.journal.commit import Commit
from taskyard_controlplane.owner.journal.journal import Journal
from taskyard_controlplane.owner.journal.rows import add_end, ended_row
from taskyard_controlplane.owner.journal.run_book import RunBook
from taskyard_controlplane.owner.journal.templates import Templates
from taskyard_controlplane.owner.logs.writer import LOGGER
from taskyard_controlplane.owner.metrics import Metrics
from taskyard_controlplane.owner.rules.settling import Settling
from taskyard_controlplane.storage.interface import BlobRefKind, EndedRow, LogRow, NewRunRow, RefusedRow

log = logging.getLogger(__name__)

Taken = tuple[Sequence[Any], str]
"""A row, and why it cannot be stored."""
_FLOW: Final = NewRunRow._fields.index("flow_seq")
_TEMPLATE: Final = NewRunRow._fields.index("template_id")
_ARGUMENTS: Final = int(BlobRefKind.ARGUMENTS)
_MESSAGE: Final = LogRow._fields.index("message")


class Unstorable:
    """Sets rows aside, and ends the runs they are about."""

    def __init__(
        self,
        book: RunBook,
        journal: Journal,
        templates: Templates,
        settling: Settling,
        refusals: Refusals,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        """End runs of `book`, those that are new with `refusals`."""
        self._book = book
        self._journal = journal
        self._templates = templates
        self._settling = settling
        self._refusals = refusals
        self._clock = clock
        self._metrics = metrics

    def set_aside(self, commit: Commit, found: Sequence[RefusedRow]) -> None:
        """Take rows out of a commit that has not been written, and put what follows from that into it."""
        self._metrics.unstorable_rows += len(found)
        taken = _taken_out(commit, found)
        for name, rows in taken.items():
            log.error(
                "%d rows for '%s' cannot be stored and were set aside; the first: %s",
                len(rows), name, rows[0][1], extra={"event": "rows_set_aside"},
            )  # fmt: skip
        self._refuse_new(commit, taken)
        self._crash(commit, taken)
        if not commit.set_aside:
            for row, why in taken.get("logs", ()):
                text = f"a log record could not be stored: {why}"
                now_us = self._clock.now_us()
                commit.rows.logs.append((row[0], row[1], now_us, logging.ERROR, LOGGER, text, row[-1]))
        commit.set_aside += 1

    def _refuse_new(self, commit: Commit, taken: Mapping[str, list[Taken]]) -> None:
        """Refuse new runs: those that cannot be stored, those of templates that cannot, those inside them."""
        reasons = {row[0]: why for row, why in taken.get("new_runs", ())}
        reasons |= {row[2]: why for row, why in taken.get("backlog_added", ())}
        templates = {row[0]: f"its template: {why}" for row, why in taken.get("templates", ())}
        for template_id, why in templates.items():
            self._templates.unstorable(template_id, why)
        # Back to the others that are about refused runs, to be taken out with them.
        commit.rows.new_runs += [tuple(row) for row, _ in taken.get("new_runs", ())]
        commit.rows.backlog_added += [(row[0], row[1], row[2]) for row, _ in taken.get("backlog_added", ())]
        for row in sorted([*commit.rows.new_runs, *self._journal.open.rows.new_runs], key=itemgetter(0)):
            if row[_TEMPLATE] in templates:
                reasons.setdefault(row[0], templates[row[_TEMPLATE]])
            if row[_FLOW] in reasons:
                reasons.setdefault(row[0], "the flow run it belongs to cannot be recorded")
        if reasons:
            self._refusals.unstorable(commit, reasons)

    def _crash(self, commit: Commit, taken: Mapping[str, list[Taken]]) -> None:
        ends = {row[-1]: f"its end cannot be stored: {why}" for row, why in taken.get("ended", ())}
        moves = {row[0]: f"its state cannot be stored: {why}" for row, why in taken.get("events", ())}
        if not ends and not moves:
            return
        for run in self._runs(ends.keys() | moves.keys()):
            if run.seq in ends:
                self._crash_run(commit, run, ends[run.seq])
            elif not run.ended:  # or it has an end of its own, and only a line of its history is missing
                self._crash_run(commit, run, moves[run.seq])

    def _runs(self, seqs: Iterable[int]) -> list[Run]:
        wanted = frozenset(seqs)
        return [run for run in self._book.runs.values() if run.seq in wanted]

    def _crash_run(self, commit: Commit, run: Run, why: str) -> None:
        for each in (commit, self._journal.open):
            rows = each.rows
            rows.ended = [row for row in rows.ended if row[-1] != run.seq]
            rows.cache = [row for row in rows.cache if row[1] != run.seq]
            # What its arguments refer to stays.
            rows.blob_refs = [row for row in rows.blob_refs if row[1] != run.seq or row[0] == _ARGUMENTS]
            rows.logs = [row for row in rows.logs if row[0] != run.seq or not is_end(str(row[_MESSAGE]))]
            each.lines = [line for line in each.lines if line[1][0] != run.run_id or not is_end(line[1][4])]
            each.effects = [(other, effects) for other, effects in each.effects if other is not run]
        open_rows = self._journal.open.rows
        open_rows.events = [row for row in open_rows.events if row[0] != run.seq]
        effects = self._settling.give_up(run, why)
        self._settling.tell_end(run)
        commit.effects.append((run, effects))
        if not commit.set_aside:
            add_end(commit.rows, ended_row(run))
        elif commit.set_aside == 1:
            add_end(commit.rows, _plainest_end(run))
        else:
            log.critical("run %d has ended, and that cannot be stored", run.seq)
        for _, decision in commit.decided:
            if decision.run_id == run.run_id:
                decision.ClearField("retry_after_ms")
                decision.MergeFrom(FlowDecision(state=run.state))  # type: ignore[arg-type]


def _taken_out(commit: Commit, found: Sequence[RefusedRow]) -> dict[str, list[Taken]]:
    """Take rows out of the lists of a commit; returns them by list."""
    reasons: dict[str, dict[int, str]] = {}
    for name, place, why in found:
        reasons.setdefault(name, {})[place] = why
    taken: dict[str, list[Taken]] = {}
    for name, places in reasons.items():
        rows = getattr(commit.rows, name)
        taken[name] = [(rows[place], why) for place, why in places.items()]
        rows[:] = [row for place, row in enumerate(rows) if place not in places]
    return taken


def _plainest_end(run: Run) -> EndedRow:
    """Return an end that says nothing but that, for a run whose own counters cannot be stored."""
    return EndedRow(int(RunState.CRASHED), 0, 1, 0, 0, None, run.ended_us, None, run.outcome, None, run.seq)
