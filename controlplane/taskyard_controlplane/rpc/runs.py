"""RunService: runs for tools, and for clients in any language: `reading` answers, the owner acts."""
# The contract names the methods, and says what they promise.

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Final

from taskyard_api.v1 import run_service_pb2 as pb
from taskyard_api.v1 import run_service_pb2_grpc
from taskyard_contract.errors import ServerStopping
from taskyard_controlplane.owner.peers.frame_limits import check_name
from taskyard_controlplane.owner.queueing.checks import check_id
from taskyard_controlplane.owner.rules.cancelling import Wish
from taskyard_controlplane.reading import page_tokens
from taskyard_controlplane.reading.calls import CallReader
from taskyard_controlplane.reading.counting import RunCounter
from taskyard_controlplane.reading.filters import check_filter, check_order, check_view
from taskyard_controlplane.reading.messages import log_batch, state_entry
from taskyard_controlplane.reading.page_tokens import Listing
from taskyard_controlplane.reading.pages import first_page
from taskyard_controlplane.reading.runs import RunReader
from taskyard_controlplane.reading.summing import RunSummarizer
from taskyard_controlplane.reading.tokens import scope_of
from taskyard_controlplane.rpc.directory import Directory
from taskyard_controlplane.rpc.explaining import RunExplaining
from taskyard_controlplane.rpc.following import RETRY_SECONDS, Followers
from taskyard_controlplane.rpc.tailing import LogTailing
from taskyard_controlplane.rpc.watching import RunWatching
from taskyard_controlplane.settings import PeerSettings, RpcSettings

USUAL_PAGE: Final = 100  # what somebody looks through
USUAL_LOG_PAGE: Final = 1_000  # log records are small, and are usually wanted all
USUAL_STATES_PAGE: Final = 1_000  # a run has a handful, but for those that are repeated for days


class RunService(run_service_pb2_grpc.RunServiceServicer):
    """Implements the service over the owner, which decides, and a reader."""

    def __init__(
        self,
        directory: Directory,
        reading: RunReader,
        counter: RunCounter,
        settings: RpcSettings,
        peers: PeerSettings,
        summarizer: RunSummarizer,
        calls: CallReader,
    ) -> None:
        """Act through the owners of `directory`, answer from all the others."""
        self._calls = calls
        self._directory = directory
        self._reading = reading
        self._counter = counter
        self._summarizer = summarizer
        self._settings = settings
        self._followers = Followers(peers)
        self._watching = RunWatching(directory, reading, self._followers)
        self._tailing = LogTailing(directory, reading, self._followers)
        self._explaining = RunExplaining(directory, reading)
        self._waits: set[asyncio.Timeout] = set()
        self._stopping = False

    async def SubmitRuns(self, request: pb.SubmitRunsRequest, context: Any) -> pb.SubmitRunsResponse:
        refused = await self._directory.owner().submit_unowned(request.runs, request.blobs)
        return pb.SubmitRunsResponse(refused=refused)

    async def GetRun(self, request: pb.GetRunRequest, context: Any) -> pb.GetRunResponse:
        run_id = check_id(request.run_id)
        full = check_view(request.view)
        run = await self._reading.run(run_id, include_result=request.include_result, full=full)
        return pb.GetRunResponse(run=run)

    async def WaitRun(self, request: pb.WaitRunRequest, context: Any) -> pb.WaitRunResponse:
        run_id = check_id(request.run_id)
        await self._wait(run_id, min(request.timeout_ms / 1000, self._settings.max_wait_seconds))
        return pb.WaitRunResponse(run=await self._reading.run(run_id, include_result=True))

    async def ListRuns(self, request: pb.ListRunsRequest, context: Any) -> pb.ListRunsResponse:
        wanted, oldest_first = check_filter(request.filter), check_order(request.order)
        full = check_view(request.view)
        scope = scope_of(wanted, oldest_first=oldest_first)
        beyond = page_tokens.decode(Listing.RUNS, request.page_token, scope)
        limit = page_tokens.page_size(request.page_size, USUAL_PAGE, self._settings.max_page_size)
        runs, position, searched_to_us = await self._reading.page(
            wanted, beyond, limit, oldest_first=oldest_first, full=full
        )
        token = page_tokens.encode(Listing.RUNS, position, scope) if position is not None else ""
        return pb.ListRunsResponse(runs=runs, next_page_token=token, searched_to_us=searched_to_us)

    async def CountRuns(self, request: pb.CountRunsRequest, context: Any) -> pb.CountRunsResponse:
        by_state, searched_to_us = await self._counter.count(check_filter(request.filter))
        counts = [pb.StateCount(state=state, runs=by_state[state]) for state in sorted(by_state)]  # type: ignore[arg-type]
        return pb.CountRunsResponse(counts=counts, searched_to_us=searched_to_us)

    async def SummarizeRuns(self, request: pb.SummarizeRunsRequest, context: Any) -> pb.SummarizeRunsResponse:
        scope = scope_of(check_id(request.flow_run_id, "flow_run_id"))
        beyond = page_tokens.decode(Listing.SUMMARIES, request.page_token, scope)
        tasks, position = await self._summarizer.page(request.flow_run_id, beyond, details=request.details)
        token = page_tokens.encode(Listing.SUMMARIES, position, scope) if position is not None else ""
        return pb.SummarizeRunsResponse(tasks=tasks, next_page_token=token)

    async def ListCalls(self, request: pb.ListCallsRequest, context: Any) -> pb.ListCallsResponse:
        scope = scope_of(check_id(request.flow_run_id, "flow_run_id"))
        beyond = page_tokens.decode(Listing.CALLS, request.page_token, scope)
        response, position = await self._calls.page(request.flow_run_id, beyond)
        if position is not None:
            response.next_page_token = page_tokens.encode(Listing.CALLS, position, scope)
        return response

    async def WatchRuns(
        self, request: pb.WatchRunsRequest, context: Any
    ) -> AsyncIterator[pb.WatchRunsResponse]:
        async with aclosing(self._watching.messages(request, context.peer())) as messages:
            async for message in messages:
                yield message

    async def ListRunStates(self, request: pb.ListRunStatesRequest, context: Any) -> pb.ListRunStatesResponse:
        scope = scope_of(check_id(request.run_id))
        start = page_tokens.decode(Listing.STATES, request.page_token, scope) or 0
        limit = page_tokens.page_size(request.page_size, USUAL_STATES_PAGE, self._settings.max_page_size)
        entries = await self._reading.history(request.run_id)
        states = first_page([state_entry(entry) for entry in entries[start : start + limit]], limit)
        end = start + len(states)
        token = page_tokens.encode(Listing.STATES, end, scope) if end < len(entries) else ""
        return pb.ListRunStatesResponse(states=states, next_page_token=token)

    async def ListRunLogs(self, request: pb.ListRunLogsRequest, context: Any) -> pb.ListRunLogsResponse:
        scope = scope_of(check_id(request.run_id))
        after = page_tokens.decode(Listing.LOGS, request.page_token, scope)
        limit = page_tokens.page_size(request.page_size, USUAL_LOG_PAGE, self._settings.max_page_size)
        head = await self._reading.log_of(request.run_id)
        up_to = await self._directory.owner().logs_up_to(head.run_seq)
        records = await self._reading.logs(head.run_seq, after or 0, limit, up_to)
        token = request.page_token
        if records:
            token = page_tokens.encode(Listing.LOGS, records[-1].log_id, scope)
        return pb.ListRunLogsResponse(
            logs=log_batch(records), next_page_token=token, removed_before_us=head.removed_before_us
        )

    async def TailRunLogs(
        self, request: pb.TailRunLogsRequest, context: Any
    ) -> AsyncIterator[pb.TailRunLogsResponse]:
        check_id(request.run_id)
        async with aclosing(self._tailing.messages(request, context.peer())) as messages:
            async for message in messages:
                yield message

    async def Explain(self, request: pb.ExplainRequest, context: Any) -> pb.ExplainResponse:
        return await self._explaining.answer(request)

    async def CancelRun(self, request: pb.CancelRunRequest, context: Any) -> pb.CancelRunResponse:
        run_id = check_id(request.run_id)
        wish = Wish.of(check_name("requested_by", request.requested_by), request.reason)
        state = await self._directory.owner().cancel(run_id, wish)
        return pb.CancelRunResponse(state=state)  # type: ignore[arg-type]  # the enums are equal

    async def ResumeRun(self, request: pb.ResumeRunRequest, context: Any) -> pb.ResumeRunResponse:
        run_id, session_id = check_id(request.run_id), check_id(request.session_id, "session_id")
        resuming = self._directory.owner().resuming
        attempt = await resuming.resume(run_id, session_id, request.attempt, completed=request.completed)
        return pb.ResumeRunResponse(attempt=attempt)

    async def _wait(self, run_id: bytes, seconds: float) -> None:
        timeout = asyncio.timeout(seconds)
        self._waits.add(timeout)
        try:
            async with timeout:
                await self._directory.owner().wait_ended(run_id)
        except TimeoutError:
            if self._stopping:
                raise ServerStopping("the server stops; call again", retry_after=RETRY_SECONDS) from None
        finally:
            self._waits.discard(timeout)

    def begin_stop(self) -> None:
        """End all that waits or follows, so that the callers look for the next server."""
        self._stopping = True
        self._followers.begin_stop()
        now = asyncio.get_running_loop().time()
        for timeout in self._waits:
            if not timeout.expired():  # one that ends by itself just now finds that the server stops
                timeout.reschedule(now)
