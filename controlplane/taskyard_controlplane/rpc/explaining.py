"""Explain: what the owner knows of runs that wait, completed by what only the database has of them.

The database is asked for runs that are not in memory, and for the edges of those that wait for others: in
small groups, because a run that gathers a map has a hundred thousand edges. While it does not answer, runs in
memory are explained all the same.
"""

from collections.abc import Sequence
from typing import Final

from taskyard_api.v1 import run_service_pb2 as pb
from taskyard_contract.errors import InvalidRequest, StorageUnavailable
from taskyard_contract.states import FIRST_FINAL
from taskyard_controlplane.domain.wait_reasons import Explained, RunName
from taskyard_controlplane.owner.journal.template_reading import read_stored
from taskyard_controlplane.owner.queueing.checks import check_id
from taskyard_controlplane.owner.serving.explaining import Recorded, RecordedRun
from taskyard_controlplane.owner.serving.owner import Owner
from taskyard_controlplane.reading.explanations import Names, explanation, unnamed
from taskyard_controlplane.reading.messages import name_of, outcome_of, template_of
from taskyard_controlplane.reading.runs import RunReader
from taskyard_controlplane.rpc.directory import Directory
from taskyard_controlplane.storage.interface import ListedRun, TemplateRow

MOST_RUNS: Final = 100
"""In one request: as many as show what thousands of them have in common."""
READ_AT_ONCE: Final = 10
"""Rows that are in memory at a time."""


class RunExplaining:
    """Answers Explain."""

    def __init__(self, directory: Directory, reading: RunReader) -> None:
        """Ask the owners of `directory`; read with `reading`."""
        self._directory = directory
        self._reading = reading

    async def answer(self, request: pb.ExplainRequest) -> pb.ExplainResponse:
        """Explain the runs of a request, in its order.

        Raises:
            InvalidRequest: It names no run, too many, or one with an id of another length.
            NotOwner: The owner is elsewhere.
        """
        run_ids = list(request.run_ids)
        if not 0 < len(run_ids) <= MOST_RUNS:
            text = f"run_ids has {len(run_ids):,} ids; at least one and at most {MOST_RUNS} are explained"
            raise InvalidRequest(text, field="run_ids", limit=MOST_RUNS)
        for position, run_id in enumerate(run_ids):
            check_id(run_id, f"run_ids[{position}]")
        owner = self._directory.owner()
        found: dict[bytes, Explained] = {}
        known, unknown = owner.explaining.parted(dict.fromkeys(run_ids))
        found.update(owner.explaining.explain(known, {}))
        for start in range(0, len(unknown), READ_AT_ONCE):
            found.update(await self._explained(owner, unknown[start : start + READ_AT_ONCE]))
        names = await self._names(unnamed(found.values()))
        return pb.ExplainResponse(explanations=[explanation(found[run_id], names) for run_id in run_ids])

    async def _explained(self, owner: Owner, run_ids: Sequence[bytes]) -> dict[bytes, Explained]:
        try:
            rows = await self._reading.rows(run_ids)
        except StorageUnavailable:
            if not all(owner.explaining.knows(run_id) for run_id in run_ids):
                raise
            rows = []
        return owner.explaining.explain(run_ids, _recorded(rows))

    async def _names(self, run_ids: Sequence[bytes]) -> Names:
        """Return the names of runs that are waited for and not in memory."""
        named: dict[bytes, RunName] = {}
        for start in range(0, min(len(run_ids), MOST_RUNS), READ_AT_ONCE):
            try:
                rows = await self._reading.rows(run_ids[start : start + READ_AT_ONCE])
            except StorageUnavailable:
                break
            for row in rows:
                named[row.run.run_id] = RunName(row.run.run_id, _name(row), row.run.state)
        return named


def _recorded(rows: Sequence[ListedRun]) -> Recorded:
    recorded: dict[bytes, RecordedRun] = {}
    for listed in rows:
        run = listed.run
        template = read_stored(TemplateRow(run.template_id, b"", listed.definition, ""))
        recorded[run.run_id] = RecordedRun(
            _name(listed), run.state, template.need, template.priority, run.upstream or b"", run.session_id
        )
    return recorded


def _name(listed: ListedRun) -> str:
    run = listed.run
    replaced = outcome_of(run).run_name if run.state >= FIRST_FINAL else ""
    return name_of(run, template_of(listed.definition), replaced)
