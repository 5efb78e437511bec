"""Runs that make calls: where they stand, for those that add runs to a flow run of somebody else.

A task run adds to the flow run around it by a session of its worker, which owns nothing of that flow. What
shows that it may is the run that makes the call. That run may have ended: what it has started in a thread
goes on for a moment, and a frame can be under way while the end is reported by another path. At home, where
threads execute tasks, the same calls are taken; so it counts like an open one for `MOMENT_US`, and is looked
for in the database, because nothing of it is in memory. That is read once for a frame, and only then.

The code of a flow run may go on in another process that it has started: that one opens a session in the name
of the flow run, which takes its runs as long as it is open.
"""

from collections.abc import Mapping

from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.clock import Clock
from taskyard_contract.states import FIRST_FINAL
from taskyard_controlplane.owner.journal.run_book import RunBook
from taskyard_controlplane.owner.journal.stored_runs import StoredRuns
from taskyard_controlplane.owner.peers.client_session import ClientSession
from taskyard_controlplane.owner.rules.authority import MOMENT_US, Place, owns


class Callers:
    """Looks up where the callers of new runs stand."""

    def __init__(self, book: RunBook, stored: StoredRuns, clock: Clock) -> None:
        """Look for them in `book`, and then among what is `stored`."""
        self._book = book
        self._stored = stored
        self._clock = clock

    async def of(self, session: ClientSession, batch: pb.SubmitBatch) -> Mapping[bytes, Place]:
        """Return the places of those callers in a batch that have to show that they may add to a flow run.

        All of them, also the open ones: they may end before the last run of the batch is added.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        runs, places = self._book.runs, dict[bytes, Place]()
        ended: dict[bytes, None] = {}
        for group in batch.groups:
            flow = runs.get(group.flow_run_id) if group.flow_run_id else None
            caller_id = group.caller_run_id or session.caller_run_id
            if flow is None or not caller_id or owns(session, flow):
                continue
            caller = runs.get(caller_id)
            if caller is flow:
                if session.caller_run_id == caller_id:  # its own code, in a process that it has started
                    places[caller_id] = Place(flow.seq)
            elif caller is not None:
                places[caller_id] = Place(self._book.flow_seq_of(caller))
            else:
                ended[caller_id] = None
        if ended:
            places.update(await self._ended(list(ended)))
        return places

    async def _ended(self, caller_ids: list[bytes]) -> dict[bytes, Place]:
        rows = await self._stored.rows(caller_ids)
        long_ago = self._clock.now_us() - MOMENT_US
        return {
            row.run_id: Place(row.flow_seq or 0, row.ended_us < long_ago)
            for row in rows
            if row.state >= FIRST_FINAL and row.ended_us is not None
        }
