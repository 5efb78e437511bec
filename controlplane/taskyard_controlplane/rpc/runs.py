"""RunService: runs for tools, and for clients in any language.

Reads come from the database through a few reader threads and are completed with what only the owner knows;
writes go to the owner.
"""
# gRPC dictates the names of methods.

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from taskyard_api.v1 import run_service_pb2 as pb
from taskyard_api.v1 import run_service_pb2_grpc
from taskyard_contract.errors import RunNotFound, ServerStopping
from taskyard_contract.ids import format_id
from taskyard_contract.states import FIRST_FINAL
from taskyard_controlplane.domain.live_state import LiveState
from taskyard_controlplane.owner.queueing.checks import check_id
from taskyard_controlplane.owner.serving.owner import Owner
from taskyard_controlplane.reading import messages, page_tokens
from taskyard_controlplane.reading.background import Background
from taskyard_controlplane.reading.history import history_of
from taskyard_controlplane.reading.page_tokens import Listing
from taskyard_controlplane.settings import RpcSettings
from taskyard_controlplane.storage.interface import EventRow, ListedRun, Reader, RunFilter

USUAL_PAGE: Final = 100
USUAL_LOG_PAGE: Final = 1_000
MAX_SCANNED_PAGES: Final = 10
RETRY_SECONDS: Final = 0.5


class RunService(run_service_pb2_grpc.RunServiceServicer):
    """Implements the service over an owner and a reader."""

    def __init__(self, owner: Owner, reader: Reader, background: Background, settings: RpcSettings) -> None:
        """Serve the runs of one shard."""
        self._owner = owner
        self._reader = reader
        self._background = background
        self._settings = settings
        self._waits: set[asyncio.Timeout] = set()
        self._stopping = False

    async def SubmitRuns(self, request: pb.SubmitRunsRequest, context: Any) -> pb.SubmitRunsResponse:
        """Record runs that belong to no session."""
        refused = await self._owner.submit_unowned(request.runs, request.blobs)
        return pb.SubmitRunsResponse(refused=refused)

    async def GetRun(self, request: pb.GetRunRequest, context: Any) -> pb.GetRunResponse:
        """Read one run."""
        run = await self._read(check_id(request.run_id), include_result=request.include_result)
        return pb.GetRunResponse(run=run)

    async def WaitRun(self, request: pb.WaitRunRequest, context: Any) -> pb.WaitRunResponse:
        """Wait for the end of a run, or for the timeout, and read it."""
        run_id = check_id(request.run_id)
        await self._wait(run_id, min(request.timeout_ms / 1000, self._settings.max_wait_seconds))
        return pb.WaitRunResponse(run=await self._read(run_id, include_result=True))

    async def ListRuns(self, request: pb.ListRunsRequest, context: Any) -> pb.ListRunsResponse:
        """List runs, newest first."""
        before = page_tokens.decode(Listing.RUNS, request.page_token)
        limit = page_tokens.page_size(request.page_size, USUAL_PAGE, self._settings.max_page_size)
        wanted = await self._filter_of(request)
        if wanted is None:
            return pb.ListRunsResponse()
        runs, position = await self._collect(wanted, frozenset(request.states), before, limit)
        token = page_tokens.encode(Listing.RUNS, position) if position is not None else ""
        return pb.ListRunsResponse(runs=runs, next_page_token=token)

    async def ListRunStates(self, request: pb.ListRunStatesRequest, context: Any) -> pb.ListRunStatesResponse:
        """List every state a run has been in."""
        listed = await self._find(check_id(request.run_id))
        events = await self._background(self._reader.events, listed.run.seq)
        outcome = messages.outcome_of(listed.run)
        entries = history_of(listed.run, events, self._live(listed), outcome.state_name, outcome.message)
        return pb.ListRunStatesResponse(states=[messages.state_entry(entry) for entry in entries])

    async def ListRunLogs(self, request: pb.ListRunLogsRequest, context: Any) -> pb.ListRunLogsResponse:
        """List log records of a run and of the runs inside it."""
        after = page_tokens.decode(Listing.LOGS, request.page_token)
        limit = page_tokens.page_size(request.page_size, USUAL_LOG_PAGE, self._settings.max_page_size)
        listed = await self._find(check_id(request.run_id))
        records = await self._background(self._reader.logs, listed.run.seq, after or 0, limit)
        token = request.page_token
        if records:
            token = page_tokens.encode(Listing.LOGS, records[-1].log_id)
        return pb.ListRunLogsResponse(logs=messages.log_batch(records), next_page_token=token)

    async def CancelRun(self, request: pb.CancelRunRequest, context: Any) -> pb.CancelRunResponse:
        """Request cancellation."""
        state = await self._owner.cancel(check_id(request.run_id))
        return pb.CancelRunResponse(state=state)  # type: ignore[arg-type]  # the enums are equal

    async def _wait(self, run_id: bytes, seconds: float) -> None:
        timeout = asyncio.timeout(seconds)
        self._waits.add(timeout)
        try:
            async with timeout:
                await self._owner.wait_ended(run_id)
        except TimeoutError:
            if self._stopping:
                raise ServerStopping("the server stops; call again", retry_after=RETRY_SECONDS) from None
        finally:
            self._waits.discard(timeout)

    def begin_stop(self) -> None:
        """End all waits, so that their callers look for the next server."""
        self._stopping = True
        now = asyncio.get_running_loop().time()
        for timeout in self._waits:
            timeout.reschedule(now)

    async def _find(self, run_id: bytes) -> ListedRun:
        listed = await self._background(self._reader.run, run_id)
        if listed is None:
            raise RunNotFound(f"there is no run {format_id(run_id)}", run_id=run_id)
        return listed

    async def _read(self, run_id: bytes, *, include_result: bool) -> pb.Run:
        listed = await self._find(run_id)
        last_event = await self._last_event(listed)
        return messages.run_message(listed, self._live(listed), last_event, include_result=include_result)

    async def _last_event(self, listed: ListedRun) -> EventRow | None:
        if listed.run.state >= FIRST_FINAL:
            return None
        events = await self._background(self._reader.events, listed.run.seq)
        return events[-1] if events else None

    def _live(self, listed: ListedRun) -> LiveState | None:
        if listed.run.state >= FIRST_FINAL:
            return None
        return self._owner.state_of(listed.run.run_id)

    async def _filter_of(self, request: pb.ListRunsRequest) -> RunFilter | None:
        """Translate a filter for the database; None when nothing can match."""
        flow_seq = None
        if request.flow_run_id:
            flow = await self._background(self._reader.run, check_id(request.flow_run_id, "flow_run_id"))
            if flow is None:
                return None
            flow_seq = flow.run.seq
        return RunFilter(
            kind=request.kind,
            flow_seq=flow_seq,
            states=_recorded_states(request.states),
            name_contains=request.name_contains,
        )

    async def _collect(
        self, wanted: RunFilter, states: frozenset[int], before: int | None, limit: int
    ) -> tuple[list[pb.Run], int | None]:
        """Gather one page and the position where the next begins, None at the end.

        Open runs are filtered by the owner's view, so the database is read on until the page is full; but
        not for ever: a page may be short, or empty, and still have a successor.
        """
        runs: list[pb.Run] = []
        for _ in range(MAX_SCANNED_PAGES):
            listed = await self._background(self._reader.runs, wanted, before, limit)
            for entry in listed:
                message = messages.run_message(entry, self._live(entry))
                before = entry.run.seq
                if not states or message.state in states:
                    runs.append(message)
                    if len(runs) == limit:
                        return runs, before
            if len(listed) < limit:
                return runs, None
        return runs, before


def _recorded_states(states: Sequence[int]) -> tuple[int, ...]:
    """Return the states to look for in the database, which keeps open runs as they were inserted."""
    recorded = [state for state in states if state >= FIRST_FINAL]
    if len(recorded) < len(states):
        recorded += messages.OPEN_STATES
    return tuple(recorded)
