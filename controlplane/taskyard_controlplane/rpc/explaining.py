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
from taskyard_controlplane.domain.edges import EDGE_BYTES
from taskyard_controlplane.domain.wait_reasons import Explained, RunName
from taskyard_controlplane.owner.journal.template_reading import read_stored
from taskyard_controlplane.owner.queueing.checks import check_id
from taskyard_controlplane.owner.serving.explaining import MOST_EDGES, RecordedRun
from taskyard_controlplane.owner.serving.owner import Owner
from taskyard_controlplane.reading.explanations import Names, explanation, unnamed
from taskyard_controlplane.reading.messages import name_of, outcome_of, template_of
from taskyard_controlplane.reading.runs import RunReader
from taskyard_controlplane.rpc.directory import Directory
from taskyard_controlplane.storage.interface import ListedRun, TemplateRow

MOST_RUNS: Final = 100
"""In one request: as many as show what thousands of them have in common."""
MOST_FURTHER: Final = 100
"""Further runs that are read for them, which they wait for."""
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
        found = await self._explained(self._directory.owner(), list(dict.fromkeys(run_ids)))
        names = await self._names(unnamed(found.values()))
        return pb.ExplainResponse(explanations=[explanation(found[run_id], names) for run_id in run_ids])

    async def _explained(self, owner: Owner, run_ids: list[bytes]) -> dict[bytes, Explained]:
        """Explain runs; rows are read until nothing is missing, or enough has been read."""
        recorded: dict[bytes, RecordedRun] = {}
        missing, room = owner.explaining.unknown(run_ids), MOST_RUNS + MOST_FURTHER
        while True:
            missing = [run_id for run_id in missing if run_id not in recorded][:room]
            room -= len(missing)
            try:
                await self._read(missing, recorded)
            except StorageUnavailable:
                if not all(map(owner.explaining.knows, run_ids)):
                    raise
                missing, room = [], 0
            found, further = owner.explaining.explain(run_ids, recorded)
            if not missing or not further or not room:
                return found
            missing = further

    async def _read(self, run_ids: Sequence[bytes], recorded: dict[bytes, RecordedRun]) -> None:
        for start in range(0, len(run_ids), READ_AT_ONCE):
            for listed in await self._reading.rows(run_ids[start : start + READ_AT_ONCE]):
                recorded[listed.run.run_id] = _recorded(listed)

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


def _recorded(listed: ListedRun) -> RecordedRun:
    run = listed.run
    template = read_stored(TemplateRow(run.template_id, b"", listed.definition, ""))
    edges = (run.upstream or b"")[: MOST_EDGES * EDGE_BYTES]
    return RecordedRun(_name(listed), run.state, template.need, template.priority, edges, run.session_id)


def _name(listed: ListedRun) -> str:
    run = listed.run
    replaced = outcome_of(run).run_name if run.state >= FIRST_FINAL else ""
    return name_of(run, template_of(listed.definition), replaced)
