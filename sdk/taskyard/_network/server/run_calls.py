"""Calls about runs."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from typing import Any, Final

from taskyard._network.server.calling import Calling, translated
from taskyard_api.v1 import run_service_pb2

RUN_PAGE: Final = 1_000
"""The most runs that a server puts into one page."""


class RunCalls(Calling):
    """Calls of `RunService`."""

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

    async def get_result_async(self, run_id: bytes) -> run_service_pb2.Run:
        """Read one run with its result, on the loop thread."""
        request = run_service_pb2.GetRunRequest(run_id=run_id, include_result=True)
        return (await translated(self._work(lambda: self._runs().GetRun(request, timeout=self._seconds)))).run

    def wait_run(self, run_id: bytes, timeout: float) -> run_service_pb2.Run:
        """Wait until a run has ended, at most `timeout` seconds, and read it."""
        return self._call(self._waiting(run_id, timeout)).run

    async def wait_run_async(self, run_id: bytes, timeout: float) -> run_service_pb2.Run:
        """Wait like `wait_run`, on the loop thread."""
        return (await translated(self._work(self._waiting(run_id, timeout)))).run

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
        answer = await translated(self._once(lambda: self._runs().CountRuns(request, timeout=self._seconds)))
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

    def resume_run(self, run_id: bytes, session_id: bytes, attempt: int, *, completed: bool) -> int:
        """Have a session execute an ended flow run once more; returns the attempt that it is to make.

        Args:
            run_id: The flow run.
            session_id: The session.
            attempt: The attempt it ended in.
            completed: Whether it may have completed.

        Raises:
            RunNotResumable: It has not ended, has completed, or was resumed meanwhile.
        """
        request = run_service_pb2.ResumeRunRequest(
            run_id=run_id, session_id=session_id, attempt=attempt, completed=completed
        )
        return self._call(lambda: self._runs().ResumeRun(request, timeout=self._seconds)).attempt

    def call_pages(self, flow_run_id: bytes) -> Iterator[run_service_pb2.ListCallsResponse]:
        """Yield what the body of a flow run has called itself, page by page, oldest first."""
        request = run_service_pb2.ListCallsRequest(flow_run_id=flow_run_id)
        while True:
            page = self._call(lambda: self._runs().ListCalls(request, timeout=self._seconds))
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

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
