"""Unary calls to a control plane: runs, blobs, agents, the cache.

Invariant: everything that fails raises a `TaskyardError`; nothing of gRPC reaches callers. One object
serves synchronous code (the CLI, `Future.state`) and the SDK's own loop: each call is a coroutine
underneath, and `_call` runs it on the loop thread.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from taskyard._network.server.loop_thread import loop_thread
from taskyard_api.v1 import blob_service_pb2, common_pb2, run_service_pb2
from taskyard_contract.errors import ConnectionFailed, TaskyardError
from taskyard_contract.transport import blob_transfer
from taskyard_contract.transport.channels import CLIENT_OPTIONS, target_of
from taskyard_contract.transport.repeating import repeated

if TYPE_CHECKING:
    import grpc.aio

    from taskyard_api.v1 import admin_service_pb2, cache_service_pb2
    from taskyard_api.v1.admin_service_pb2_grpc import AdminServiceAsyncStub
    from taskyard_api.v1.blob_service_pb2_grpc import BlobServiceAsyncStub
    from taskyard_api.v1.cache_service_pb2_grpc import CacheServiceAsyncStub
    from taskyard_api.v1.run_service_pb2_grpc import RunServiceAsyncStub

T = TypeVar("T")

CALL_SECONDS: Final = 30.0
"""Longer than a control plane takes to be replaced by another one."""
BLOB_SECONDS: Final = 300.0
"""The largest payload over a slow line, 4 megabits a second."""
CLEARING_SECONDS: Final = 300.0
"""A server removes tens of thousands of entries a second, and may be busy."""
RUN_PAGE: Final = 1_000
"""The most runs that a server puts into one page."""


def open_channel(address: str) -> "grpc.aio.Channel":
    """Open a channel. Must be called on the loop thread."""
    import grpc.aio

    return grpc.aio.insecure_channel(target_of(address), options=CLIENT_OPTIONS)


class Client:
    """Calls of one control plane. Use as a context manager, or `close` it."""

    def __init__(self, address: str, seconds: float = CALL_SECONDS, *, patient: bool = False) -> None:
        """Prepare calls; connects with the first one.

        Args:
            address: ``HOST:PORT`` or ``unix:PATH``.
            seconds: How long each of them may take.
            patient: Whether they are repeated while the control plane is being replaced. People who ask
                something want to know at once that nobody answers; programs want to go on.
        """
        self.address = address
        self._seconds = seconds
        self._patient = patient
        self._channel: grpc.aio.Channel | None = None

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; a further call would open another one."""
        channel, self._channel = self._channel, None
        if channel is not None:
            loop_thread.run(channel.close(), CALL_SECONDS)

    def get_run(
        self, run_id: bytes, include_result: bool = False, *, full: bool = False
    ) -> run_service_pb2.Run:
        """Read one run, with the bytes of its result, and with its arguments, only if they are asked for.

        Raises:
            RunNotFound: There is no such run.
        """
        view = run_service_pb2.RUN_VIEW_FULL if full else run_service_pb2.RUN_VIEW_BASIC
        request = run_service_pb2.GetRunRequest(run_id=run_id, include_result=include_result, view=view)
        return self._call(lambda: self._runs().GetRun(request, timeout=self._seconds)).run

    def wait_run(self, run_id: bytes, timeout: float) -> run_service_pb2.Run:
        """Wait until a run has ended, at most `timeout` seconds, and read it."""
        return self._call(self._waiting(run_id, timeout)).run

    async def wait_run_async(self, run_id: bytes, timeout: float) -> run_service_pb2.Run:
        """Wait like `wait_run`, on the loop thread."""
        return (await _translated(self._work(self._waiting(run_id, timeout)))).run

    def _waiting(
        self, run_id: bytes, timeout: float
    ) -> Callable[[], Awaitable[run_service_pb2.WaitRunResponse]]:
        request = run_service_pb2.WaitRunRequest(run_id=run_id, timeout_ms=round(timeout * 1000))
        return lambda: self._runs().WaitRun(request, timeout=timeout + self._seconds)

    def list_runs(self, request: run_service_pb2.ListRunsRequest) -> run_service_pb2.ListRunsResponse:
        """Read one page of runs."""
        return self._call(lambda: self._runs().ListRuns(request, timeout=self._seconds))

    def run_pages(
        self, wanted: run_service_pb2.RunFilter, limit: int, *, oldest_first: bool = False
    ) -> Iterator[run_service_pb2.ListRunsResponse]:
        """Yield pages of runs, newest first or oldest first, for somebody who wants `limit` of them."""
        order = (
            run_service_pb2.RUN_ORDER_OLDEST_FIRST if oldest_first else run_service_pb2.RUN_ORDER_NEWEST_FIRST
        )
        request = run_service_pb2.ListRunsRequest(filter=wanted, page_size=min(limit, RUN_PAGE), order=order)
        while True:
            page = self.list_runs(request)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def count_runs(self, wanted: run_service_pb2.RunFilter) -> run_service_pb2.CountRunsResponse:
        """Count the runs that fit, by state."""
        request = run_service_pb2.CountRunsRequest(filter=wanted)
        return self._call(lambda: self._runs().CountRuns(request, timeout=self._seconds))

    async def count_runs_once(self, wanted: run_service_pb2.RunFilter) -> int:
        """Count runs without repeating a call that fails, on the loop thread: for those who ask often."""
        request = run_service_pb2.CountRunsRequest(filter=wanted)
        answer = await _translated(self._once(lambda: self._runs().CountRuns(request, timeout=self._seconds)))
        return sum(count.runs for count in answer.counts)

    def summarize_runs(
        self, flow_run_id: bytes, page_token: str = "", *, details: bool = False
    ) -> run_service_pb2.SummarizeRunsResponse:
        """Sum up a page of the runs inside a flow run, oldest first.

        Raises:
            RunNotFound: There is no such run.
        """
        request = run_service_pb2.SummarizeRunsRequest(
            flow_run_id=flow_run_id, page_token=page_token, details=details
        )
        return self._call(lambda: self._runs().SummarizeRuns(request, timeout=self._seconds))

    def watch_runs(self, wanted: run_service_pb2.RunFilter) -> Iterator[run_service_pb2.WatchRunsResponse]:
        """Yield the runs that fit as they are, then those that change, until it is closed.

        A run may be told more than once as it is: after a lost connection, for example.
        """
        from taskyard._network.server.following import in_this_thread  # programs that submit follow nothing

        return in_this_thread(self.watch_runs_async(wanted))

    def watch_runs_async(
        self, wanted: run_service_pb2.RunFilter
    ) -> AsyncGenerator[run_service_pb2.WatchRunsResponse, None]:
        """Yield what `watch_runs` yields, on the loop thread."""
        from taskyard._network.server.following import followed  # as above

        def call(token: str) -> Any:
            request = run_service_pb2.WatchRunsRequest(filter=wanted, resume_token=token)
            return self._runs().WatchRuns(request)

        return followed(call, lambda message: message.resume_token, patient=self._patient)

    def tail_run_logs(self, run_id: bytes) -> Iterator[run_service_pb2.TailRunLogsResponse]:
        """Yield the log of a run, then what is added to it, until it is complete.

        Raises:
            RunNotFound: There is no such run.
        """
        from taskyard._network.server.following import in_this_thread  # as above

        return in_this_thread(self.tail_run_logs_async(run_id))

    def tail_run_logs_async(self, run_id: bytes) -> AsyncGenerator[run_service_pb2.TailRunLogsResponse, None]:
        """Yield what `tail_run_logs` yields, on the loop thread."""
        from taskyard._network.server.following import followed  # as above

        def call(token: str) -> Any:
            request = run_service_pb2.TailRunLogsRequest(run_id=run_id, page_token=token)
            return self._runs().TailRunLogs(request)

        return followed(call, lambda message: message.next_page_token, patient=self._patient)

    def list_run_states(self, run_id: bytes) -> list[run_service_pb2.RunStateEntry]:
        """Read every state a run has been in, oldest first."""
        request = run_service_pb2.ListRunStatesRequest(run_id=run_id)
        states: list[run_service_pb2.RunStateEntry] = []
        while True:
            page = self._call(lambda: self._runs().ListRunStates(request, timeout=self._seconds))
            states += page.states
            if not page.next_page_token:
                return states
            request.page_token = page.next_page_token

    def list_run_logs(
        self, run_id: bytes, page_token: str = "", page_size: int = 0
    ) -> run_service_pb2.ListRunLogsResponse:
        """Read one page of a run's log records, oldest first."""
        request = run_service_pb2.ListRunLogsRequest(
            run_id=run_id, page_token=page_token, page_size=page_size
        )
        return self._call(lambda: self._runs().ListRunLogs(request, timeout=self._seconds))

    def cancel_run(self, run_id: bytes, *, reason: str = "", requested_by: str = "") -> int:
        """Request cancellation; returns the run's state after the request was recorded.

        Args:
            run_id: The run.
            reason: Why, for people.
            requested_by: Who asks, for people.
        """
        request = run_service_pb2.CancelRunRequest(run_id=run_id, reason=reason, requested_by=requested_by)
        return int(self._call(lambda: self._runs().CancelRun(request, timeout=self._seconds)).state)

    def explain(self, run_id: bytes) -> "run_service_pb2.Explanation | None":
        """Read why a run waits; None when the server is of a release that cannot say it."""
        request = run_service_pb2.ExplainRequest(run_ids=[run_id])

        async def ask() -> "run_service_pb2.ExplainResponse | None":
            import grpc

            try:
                return await self._runs().Explain(request, timeout=self._seconds)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                    return None
                raise

        answer = self._call(ask)
        return answer.explanations[0] if answer is not None else None

    def submit_runs(self, request: run_service_pb2.SubmitRunsRequest) -> run_service_pb2.SubmitRunsResponse:
        """Submit runs that belong to no session."""
        return self._call(lambda: self._runs().SubmitRuns(request, timeout=self._seconds))

    def server_info(self) -> "admin_service_pb2.GetServerInfoResponse":
        """Read which release the server is, since when it runs, and how much it has to do."""
        from taskyard_api.v1 import admin_service_pb2  # only the command line asks

        request = admin_service_pb2.GetServerInfoRequest()
        return self._call(lambda: self._admin().GetServerInfo(request, timeout=self._seconds))

    def list_agents(self, page_token: str = "", page_size: int = 0) -> "admin_service_pb2.ListAgentsResponse":
        """Read one page of agents."""
        from taskyard_api.v1 import admin_service_pb2  # as above

        request = admin_service_pb2.ListAgentsRequest(page_token=page_token, page_size=page_size)
        return self._call(lambda: self._admin().ListAgents(request, timeout=self._seconds))

    def agents(self) -> "Iterator[admin_service_pb2.Agent]":
        """Yield all agents, connected ones first."""
        token = ""
        while True:
            page = self.list_agents(token)
            yield from page.agents
            if not page.next_page_token:
                return
            token = page.next_page_token

    def tasks(self, queue: str = "") -> "Iterator[admin_service_pb2.Task]":
        """Yield the tasks that agents have registered by name, those of one queue if it is given."""
        from taskyard_api.v1 import admin_service_pb2  # as above

        request = admin_service_pb2.ListTasksRequest(queue=queue)
        while True:
            page = self._call(lambda: self._admin().ListTasks(request, timeout=self._seconds))
            yield from page.tasks
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def drain_agent(self, agent_id: str, *, reason: str = "", requested_by: str = "") -> int:
        """Ask an agent to finish what it holds and end; returns how many runs it holds.

        Args:
            agent_id: The agent.
            reason: Why, for people.
            requested_by: Who asks, for people.
        """
        from taskyard_api.v1 import admin_service_pb2  # as above

        request = admin_service_pb2.DrainAgentRequest(
            agent_id=agent_id, reason=reason, requested_by=requested_by
        )
        return int(self._call(lambda: self._admin().DrainAgent(request, timeout=self._seconds)).held_runs)

    def cache_entries(self) -> "Iterator[cache_service_pb2.CacheEntry]":
        """Yield the entries of the cache, in the order of their keys."""
        from taskyard_api.v1 import cache_service_pb2  # as above

        request = cache_service_pb2.ListCacheEntriesRequest(page_size=RUN_PAGE)
        while True:
            page = self._call(lambda: self._cache().ListCacheEntries(request, timeout=self._seconds))
            yield from page.entries
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def cache_entry(self, key: str) -> "cache_service_pb2.CacheEntry | None":
        """Read the entry of a cache key; None when there is none."""
        from taskyard_api.v1 import cache_service_pb2  # as above

        request = cache_service_pb2.GetCacheEntryRequest(key=key)
        answer = self._call(lambda: self._cache().GetCacheEntry(request, timeout=self._seconds))
        return answer.entry if answer.HasField("entry") else None

    def clear_cache(self, request: "cache_service_pb2.ClearCacheRequest") -> int:
        """Remove entries of the cache; returns how many there were. A large one takes its time."""
        return int(self._call(lambda: self._cache().ClearCache(request, timeout=CLEARING_SECONDS)).removed)

    def upload(self, data: bytes) -> common_pb2.BlobRef:
        """Store bytes in the control plane, unless it has them."""
        return self._call(lambda: self.upload_async(data), BLOB_SECONDS)

    def is_stored(self, digest: bytes) -> bool:
        """Say whether the control plane has a blob."""
        asked = blob_service_pb2.FindMissingBlobsRequest(digests=[digest])
        found = self._call(lambda: self._blobs().FindMissingBlobs(asked, timeout=self._seconds))
        return not found.missing

    def download(self, ref: common_pb2.BlobRef) -> bytes:
        """Read bytes that were uploaded, by whomever; their digest is checked.

        Raises:
            BlobNotFound: The control plane has none under this digest.
        """
        return self._call(lambda: self.download_async(ref), BLOB_SECONDS)

    async def upload_async(self, data: bytes) -> common_pb2.BlobRef:
        """Store bytes, on the loop thread."""
        stub, ref = self._blobs(), blob_transfer.ref_of(data)
        asked = blob_service_pb2.FindMissingBlobsRequest(digests=[ref.digest])
        if (await stub.FindMissingBlobs(asked, timeout=self._seconds)).missing:
            await blob_transfer.send(stub, ref, data, timeout=BLOB_SECONDS)
        return ref

    async def download_async(self, ref: common_pb2.BlobRef) -> bytes:
        """Read stored bytes, on the loop thread.

        Raises:
            DigestMismatch: What arrived is not what was stored.
        """
        parts = blob_transfer.receive(self._blobs(), ref.digest, timeout=BLOB_SECONDS)
        return b"".join([part async for part in parts])

    def _open(self) -> "grpc.aio.Channel":
        if self._channel is None:
            self._channel = open_channel(self.address)
        return self._channel

    def _runs(self) -> "RunServiceAsyncStub":
        from taskyard_api.v1.run_service_pb2_grpc import RunServiceStub

        return cast("RunServiceAsyncStub", RunServiceStub(self._open()))

    def _admin(self) -> "AdminServiceAsyncStub":
        from taskyard_api.v1.admin_service_pb2_grpc import AdminServiceStub

        return cast("AdminServiceAsyncStub", AdminServiceStub(self._open()))

    def _cache(self) -> "CacheServiceAsyncStub":
        from taskyard_api.v1.cache_service_pb2_grpc import CacheServiceStub

        return cast("CacheServiceAsyncStub", CacheServiceStub(self._open()))

    def _blobs(self) -> "BlobServiceAsyncStub":
        from taskyard_api.v1.blob_service_pb2_grpc import BlobServiceStub

        return cast("BlobServiceAsyncStub", BlobServiceStub(self._open()))

    def _work(self, start: Callable[[], Awaitable[T]]) -> Coroutine[Any, Any, T]:
        """Return what makes a call, as often as it takes if the client is patient."""
        return repeated(start) if self._patient else self._once(start)

    @staticmethod
    async def _once(start: Callable[[], Awaitable[T]]) -> T:
        return await start()

    def _call(self, start: Callable[[], Awaitable[T]], seconds: float | None = None) -> T:
        """Make a call on the loop thread and wait for its answer, at most so long if that is said."""
        try:
            return loop_thread.run(_translated(self._work(start)), seconds)
        except TimeoutError:
            raise ConnectionFailed(f"the control plane did not answer within {seconds} seconds") from None


async def _translated(work: Coroutine[Any, Any, T]) -> T:
    """Run a call and turn what gRPC raises into a `TaskyardError`."""
    import asyncio

    import grpc.aio

    from taskyard_contract.transport.rpc_errors import from_rpc_error

    try:
        return await work
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise  # whoever waited has gone
        raise ConnectionFailed("the connection was closed while an answer was waited for") from None
    except grpc.aio.AioRpcError as error:
        failure = from_rpc_error(error)
    except TaskyardError as error:
        failure = error
    if isinstance(failure, ConnectionFailed):
        failure.args = (f"{failure}; is a server running at this address?",)
    raise failure from None
