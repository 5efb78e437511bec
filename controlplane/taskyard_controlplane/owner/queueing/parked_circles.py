"""Parked runs that wait for themselves, through others or not: nothing but the end of their session would
ever end them.

In a circle somebody waits for a run that comes later. It is told that there is no such run unless that comes
in the same commit; so all of a circle is among the new runs of one commit, and nobody has to look further.
Runs that are in memory are found when they are connected (`rules.upstream`).
"""

from collections.abc import Sequence
from typing import Any, Final

from taskyard_contract.states import RunState, StateReason
from taskyard_controlplane.domain.circles import closing_edges
from taskyard_controlplane.domain.edges import awaited, split_edges
from taskyard_controlplane.domain.events import RunEvent
from taskyard_controlplane.domain.model import Run
from taskyard_controlplane.owner.journal.committer import Committer
from taskyard_controlplane.owner.journal.journal import Journal
from taskyard_controlplane.owner.journal.stored_runs import StoredRuns
from taskyard_controlplane.owner.journal.templates import Templates
from taskyard_controlplane.owner.rules.outcome_messages import never_message
from taskyard_controlplane.owner.rules.settling import Settling
from taskyard_controlplane.storage.interface import NewRunRow, Store

_RUN_ID: Final = NewRunRow._fields.index("run_id")
_UPSTREAM: Final = NewRunRow._fields.index("upstream")


class ParkedCircles:
    """Ends runs that close a circle; the others of it end with them."""

    def __init__(
        self,
        store: Store,
        committer: Committer,
        journal: Journal,
        stored: StoredRuns,
        templates: Templates,
        settling: Settling,
    ) -> None:
        """Read from `store`, through `committer`."""
        self._store = store
        self._committer = committer
        self._journal = journal
        self._stored = stored
        self._templates = templates
        self._settling = settling
        self._rows: list[tuple[object, ...]] | None = None

    def may_be_closed(self) -> None:
        """Look for circles once the open commit is durable: others have waited for a run that comes now."""
        rows = self._journal.open.rows.new_runs
        if self._rows is not rows:
            self._rows = rows
            self._journal.then(lambda: self._look(rows))

    def _look(self, rows: Sequence[tuple[Any, ...]]) -> None:
        self._rows = None
        waits_for = {
            row[_RUN_ID]: [upstream_id for upstream_id, _ in awaited(split_edges(row[_UPSTREAM]))]
            for row in rows
            if row[_UPSTREAM]
        }
        closing = dict(closing_edges(waits_for))
        if closing:
            self._end(closing)

    def _end(self, closing: dict[bytes, bytes]) -> None:
        run_ids = list(closing)
        future = self._committer.run(lambda: self._templates.beside(self._store.heads_by_id(run_ids)))

        def done(_: object) -> None:
            if not future.cancelled() and future.exception() is None:
                for run in self._stored.load(self._templates.take(future.result())).values():
                    self._never(run, closing[run.run_id])

        future.add_done_callback(done)

    def _never(self, run: Run, upstream_id: bytes) -> None:
        if run.state == RunState.PENDING:
            message = never_message(upstream_id)
            self._settling.apply(run, RunEvent.UPSTREAM_FAILED, reason=StateReason.UPSTREAM, message=message)
