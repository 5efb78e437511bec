"""RunService, AdminService and CacheService over lists in memory, on a real port, for tests of commands."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from support.fake_documents import FakeDocuments

from taskyard_api.v1 import admin_service_pb2 as admin
from taskyard_api.v1 import cache_service_pb2 as cache
from taskyard_api.v1 import run_service_pb2 as pb
from taskyard_api.v1.admin_service_pb2_grpc import AdminServiceServicer, add_AdminServiceServicer_to_server
from taskyard_api.v1.cache_service_pb2_grpc import CacheServiceServicer, add_CacheServiceServicer_to_server
from taskyard_api.v1.document_service_pb2_grpc import add_DocumentServiceServicer_to_server
from taskyard_api.v1.run_service_pb2_grpc import RunServiceServicer, add_RunServiceServicer_to_server
from taskyard_contract.errors import RunNotFound, ServerStopping, TaskyardError, WatchExpired
from taskyard_contract.states import RunState
from taskyard_contract.transport.channels import SERVER_OPTIONS
from taskyard_contract.transport.rpc_errors import to_status

PAGE = 3

START_US = 1_767_225_600_000_000  # 2026-01-01, midnight in UTC


def run_id(number: int, prefix: str = "019b7600") -> bytes:
    """Return an id that begins with `prefix` and ends with `number`."""
    return bytes.fromhex(f"{prefix}{number:024x}")


def make_run(number: int, prefix: str = "019b7600", **fields: Any) -> pb.Run:
    """Return a completed task run, with some fields replaced."""
    usual = {
        "run_id": run_id(number, prefix),
        "kind": 1,
        "name": f"add-{number}",
        "task_name": "add",
        "state": RunState.COMPLETED,
        "attempt": 1,
        "submitted_us": START_US,
        "started_us": START_US + 2_000,
        "ended_us": START_US + 14_000,
        "queue": "default",
    }
    return pb.Run(**{**usual, **fields})


def _fits(run: pb.Run, wanted: pb.RunFilter) -> bool:
    if wanted.flow_run_id and (
        run.run_id == wanted.flow_run_id or run.state not in (wanted.states or [run.state])
    ):
        return False
    return wanted.name_contains in run.name


@dataclass
class FakeServices(RunServiceServicer, AdminServiceServicer, CacheServiceServicer, FakeDocuments):
    """What the server holds, newest first, and what it was asked for."""

    runs: list[pb.Run] = field(default_factory=list)
    states: list[pb.RunStateEntry] = field(default_factory=list)
    log: list[pb.ListRunLogsResponse] = field(default_factory=list)
    agents: list[admin.Agent] = field(default_factory=list)
    tasks: list[admin.Task] = field(default_factory=list)
    cached: list[cache.CacheEntry] = field(default_factory=list)
    pruned: admin.PruneResponse = field(default_factory=lambda: admin.PruneResponse(done=True))
    storage: admin.GetStorageResponse = field(default_factory=admin.GetStorageResponse)
    held_runs: int = 0
    asked: list[Any] = field(default_factory=list)
    refuse: TaskyardError | None = None
    fails_with: TaskyardError | None = None
    """What becomes of streams of who follows, after the first message."""
    explains: list[pb.Wait] | None = field(default_factory=list)
    """Why runs wait; None for a server that cannot say it."""
    cancelled_state: int = RunState.CANCELLED
    waits_left: int = 0
    most_looked_at: int = 100_000
    """Runs that one search looks at."""
    stops_left: int = 0
    """How often a server stops while somebody follows, before one stays."""
    resets: list[grpc.StatusCode] = field(default_factory=list)
    """With what somebody on the way ends streams of who follows, one after the other, before one stays."""
    expires_left: int = 0
    """How often nobody knows a token any more."""
    show_as_open: int = 0
    """How often a run that is read is still open."""
    counts: pb.CountRunsResponse = field(default_factory=pb.CountRunsResponse)
    inside: dict[bytes, list[list[pb.TaskSummary]]] = field(default_factory=dict)
    """What is inside flow runs, in pages."""
    follows_for_ever: bool = False
    followed: threading.Event = field(default_factory=threading.Event)
    """Whether somebody follows."""

    def _run(self, wanted: bytes, context: Any) -> pb.Run:
        if self.refuse is not None:
            context.abort_with_status(to_status(self.refuse))
        for run in self.runs:
            if run.run_id == wanted:
                return run
        context.abort_with_status(to_status(RunNotFound(f"there is no run {wanted.hex()}", run_id=wanted)))
        raise AssertionError("abort raises")

    def GetRun(self, request: pb.GetRunRequest, context: Any) -> pb.GetRunResponse:  # noqa: N802
        run = pb.Run.FromString(self._run(request.run_id, context).SerializeToString())
        if self.show_as_open:
            self.show_as_open -= 1
            run.state = pb.Run(state=RunState.RUNNING).state
        return pb.GetRunResponse(run=run)

    def WaitRun(self, request: pb.WaitRunRequest, context: Any) -> pb.WaitRunResponse:  # noqa: N802
        if self.stops_left:
            self.stops_left -= 1
            context.abort_with_status(to_status(ServerStopping("the server stops; call again")))
        run = pb.Run.FromString(self._run(request.run_id, context).SerializeToString())
        if self.waits_left:
            self.waits_left -= 1
            run.state = pb.Run(state=RunState.RUNNING).state
        return pb.WaitRunResponse(run=run)

    def ListRuns(self, request: pb.ListRunsRequest, context: Any) -> pb.ListRunsResponse:  # noqa: N802
        self.asked.append(pb.ListRunsRequest.FromString(request.SerializeToString()))
        if self.refuse is not None:
            context.abort_with_status(to_status(self.refuse))
        start, limit = int(request.page_token or 0), min(PAGE, request.page_size)
        found: list[pb.Run] = []
        for end in range(start, len(self.runs)):
            if len(found) == limit:
                return pb.ListRunsResponse(runs=found, next_page_token=str(end))
            if end - start == self.most_looked_at:
                looked_at = self.runs[end - 1].submitted_us
                return pb.ListRunsResponse(runs=found, next_page_token=str(end), searched_to_us=looked_at)
            if _fits(self.runs[end], request.filter):
                found.append(self.runs[end])
        return pb.ListRunsResponse(runs=found)

    def CountRuns(self, request: pb.CountRunsRequest, context: Any) -> pb.CountRunsResponse:  # noqa: N802
        self.asked.append(request)
        return self.counts

    def SummarizeRuns(self, request: pb.SummarizeRunsRequest, context: Any) -> pb.SummarizeRunsResponse:  # noqa: N802
        self.asked.append(request)
        self._run(request.flow_run_id, context)
        pages, number = self.inside.get(request.flow_run_id, [[]]), int(request.page_token or 0)
        more = str(number + 1) if number + 1 < len(pages) else ""
        return pb.SummarizeRunsResponse(tasks=pages[number], next_page_token=more)

    def WatchRuns(self, request: pb.WatchRunsRequest, context: Any) -> Iterator[pb.WatchRunsResponse]:  # noqa: N802
        """Tell of one run: for each turn it waits, that it runs; then how it ended."""
        self.asked.append(request)
        if request.resume_token and self.expires_left:
            self.expires_left -= 1
            context.abort_with_status(to_status(WatchExpired("too old")))
        [wanted] = request.filter.run_ids
        run = pb.Run.FromString(self._run(wanted, context).SerializeToString())
        run.state = pb.Run(state=RunState.RUNNING).state
        yield pb.WatchRunsResponse(runs=[run], resume_token="1", caught_up=True)
        self._go_on_following(context)
        while self.waits_left:
            self.waits_left -= 1
            yield pb.WatchRunsResponse(runs=[run], resume_token="2")
        yield pb.WatchRunsResponse(runs=[self._run(wanted, context)], resume_token="3")

    def TailRunLogs(self, request: pb.TailRunLogsRequest, context: Any) -> Iterator[pb.TailRunLogsResponse]:  # noqa: N802
        self._run(request.run_id, context)
        for position in range(int(request.page_token or 0), len(self.log)):
            token = str(position + 1)
            yield pb.TailRunLogsResponse(
                logs=self.log[position].logs,
                next_page_token=token,
                removed_before_us=self.log[position].removed_before_us,
            )
            self._go_on_following(context)
        yield pb.TailRunLogsResponse(next_page_token=str(len(self.log)), complete=True)

    def _go_on_following(self, context: Any) -> None:
        self.followed.set()
        if self.resets:
            context.abort(self.resets.pop(0), "RST_STREAM with error code 2")
        if self.fails_with is not None:
            context.abort_with_status(to_status(self.fails_with))
        if self.stops_left:
            self.stops_left -= 1
            context.abort_with_status(to_status(ServerStopping("the server stops; call again")))
        if self.follows_for_ever:
            over = threading.Event()
            context.add_callback(over.set)
            over.wait(30)

    def ListRunStates(self, request: pb.ListRunStatesRequest, context: Any) -> pb.ListRunStatesResponse:  # noqa: N802
        return pb.ListRunStatesResponse(states=self.states)

    def ListRunLogs(self, request: pb.ListRunLogsRequest, context: Any) -> pb.ListRunLogsResponse:  # noqa: N802
        position = int(request.page_token or 0)
        # While the run goes on, one page appears for each time the client has waited.
        visible = len(self.log) - self.waits_left
        if position >= visible:
            return pb.ListRunLogsResponse(next_page_token=request.page_token)
        return pb.ListRunLogsResponse(
            logs=self.log[position].logs,
            next_page_token=str(position + 1),
            removed_before_us=self.log[position].removed_before_us,
        )

    def Explain(self, request: pb.ExplainRequest, context: Any) -> pb.ExplainResponse:  # noqa: N802
        if self.explains is None:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        [run_id] = request.run_ids
        run = self._run(run_id, context)
        explanation = pb.Explanation(run_id=run_id, state=run.state, name=run.name, waits=self.explains)
        return pb.ExplainResponse(explanations=[explanation])

    def CancelRun(self, request: pb.CancelRunRequest, context: Any) -> pb.CancelRunResponse:  # noqa: N802
        self.asked.append(request)
        state: Any = self.cancelled_state
        return pb.CancelRunResponse(state=state)

    def ListAgents(self, request: admin.ListAgentsRequest, context: Any) -> admin.ListAgentsResponse:  # noqa: N802
        start = int(request.page_token or 0)
        end = start + PAGE
        return admin.ListAgentsResponse(
            agents=self.agents[start:end], next_page_token=str(end) if end < len(self.agents) else ""
        )

    def ListTasks(self, request: admin.ListTasksRequest, context: Any) -> admin.ListTasksResponse:  # noqa: N802
        start = int(request.page_token or 0)
        end = start + PAGE
        found = [task for task in self.tasks if not request.queue or request.queue in task.queues]
        return admin.ListTasksResponse(
            tasks=found[start:end], next_page_token=str(end) if end < len(found) else ""
        )

    def DrainAgent(self, request: admin.DrainAgentRequest, context: Any) -> admin.DrainAgentResponse:  # noqa: N802
        self.asked.append(request)
        return admin.DrainAgentResponse(held_runs=self.held_runs)

    def Prune(self, request: admin.PruneRequest, context: Any) -> Iterator[admin.PruneResponse]:  # noqa: N802
        self.asked.append(request)
        yield admin.PruneResponse(runs=self.pruned.runs // 2)
        yield self.pruned

    def GetStorage(  # noqa: N802
        self, request: admin.GetStorageRequest, context: Any
    ) -> admin.GetStorageResponse:
        return self.storage

    def ListCacheEntries(  # noqa: N802
        self, request: cache.ListCacheEntriesRequest, context: Any
    ) -> cache.ListCacheEntriesResponse:
        start = int(request.page_token or 0)
        end = start + PAGE
        return cache.ListCacheEntriesResponse(
            entries=self.cached[start:end], next_page_token=str(end) if end < len(self.cached) else ""
        )

    def GetCacheEntry(  # noqa: N802
        self, request: cache.GetCacheEntryRequest, context: Any
    ) -> cache.GetCacheEntryResponse:
        found = [entry for entry in self.cached if entry.key == request.key]
        return cache.GetCacheEntryResponse(entry=found[0] if found else None)

    def ClearCache(self, request: cache.ClearCacheRequest, context: Any) -> cache.ClearCacheResponse:  # noqa: N802
        self.asked.append(request)
        return cache.ClearCacheResponse(removed=len(self.cached))


@contextmanager
def serving(services: FakeServices) -> Iterator[str]:
    """Serve on a free port; yields the address."""
    server = grpc.server(ThreadPoolExecutor(4), options=SERVER_OPTIONS)
    add_RunServiceServicer_to_server(services, server)
    add_AdminServiceServicer_to_server(services, server)
    add_CacheServiceServicer_to_server(services, server)
    add_DocumentServiceServicer_to_server(services, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
