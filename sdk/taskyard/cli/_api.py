"""Unary calls to a server, for commands: they run one after the other and end.

Invariant: everything that fails raises a `TaskyardError` or a `CliError`; nothing of gRPC reaches commands.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final, Self, TypeVar

import grpc

from taskyard.cli.exits import CliError, ExitCode
from taskyard.cli.server_option import address_of
from taskyard_api.v1 import admin_service_pb2 as admin
from taskyard_api.v1 import run_service_pb2 as pb
from taskyard_api.v1.admin_service_pb2_grpc import AdminServiceStub
from taskyard_api.v1.run_service_pb2_grpc import RunServiceStub
from taskyard_contract.channels import CLIENT_OPTIONS, target_of
from taskyard_contract.errors import ConnectionFailed
from taskyard_contract.rpc_errors import from_rpc_error

Response = TypeVar("Response")

CALL_SECONDS: Final = 10.0
RUN_PAGE: Final = 1_000


class Api:
    """The calls of one server. A context manager."""

    def __init__(self, server: str) -> None:
        """Prepare calls.

        Args:
            server: Its address; empty means the local yard.

        Raises:
            CliError: The address is malformed, or no local yard runs.
        """
        self.address = address_of(server)
        try:
            target = target_of(self.address)
        except ValueError as error:
            raise CliError(str(error), ExitCode.USAGE) from None
        self._channel = grpc.insecure_channel(target, options=CLIENT_OPTIONS)
        self._runs = RunServiceStub(self._channel)
        self._admin = AdminServiceStub(self._channel)

    def __enter__(self) -> Self:
        """Return the calls."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self._channel.close()

    def get_run(self, run_id: bytes) -> pb.Run:
        """Read one run."""
        return self._call(self._runs.GetRun, pb.GetRunRequest(run_id=run_id)).run

    def list_runs(self, request: pb.ListRunsRequest, limit: int) -> Iterator[pb.Run]:
        """Yield runs, newest first, at most `limit`."""
        request.page_size = min(limit, RUN_PAGE)
        return islice(self._paged_runs(request), limit)

    def _paged_runs(self, request: pb.ListRunsRequest) -> Iterator[pb.Run]:
        while True:
            page = self._call(self._runs.ListRuns, request)
            yield from page.runs
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def list_states(self, run_id: bytes) -> list[pb.RunStateEntry]:
        """Read every state a run has been in, oldest first."""
        return list(self._call(self._runs.ListRunStates, pb.ListRunStatesRequest(run_id=run_id)).states)

    def list_logs(self, run_id: bytes, page_token: str) -> pb.ListRunLogsResponse:
        """Read one page of a run's log, oldest first."""
        return self._call(self._runs.ListRunLogs, pb.ListRunLogsRequest(run_id=run_id, page_token=page_token))

    def wait_run(self, run_id: bytes, seconds: float) -> pb.Run:
        """Wait for the end of a run, at most so long, and read it."""
        request = pb.WaitRunRequest(run_id=run_id, timeout_ms=round(seconds * 1000))
        return self._call(self._runs.WaitRun, request, CALL_SECONDS + seconds).run

    def cancel_run(self, run_id: bytes) -> int:
        """Request cancellation; returns the run's state after that was recorded."""
        return self._call(self._runs.CancelRun, pb.CancelRunRequest(run_id=run_id)).state

    def list_agents(self) -> Iterator[admin.Agent]:
        """Yield all agents, connected ones first."""
        request = admin.ListAgentsRequest()
        while True:
            page = self._call(self._admin.ListAgents, request)
            yield from page.agents
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def _call(self, method: Callable[..., Response], request: Any, timeout: float = CALL_SECONDS) -> Response:
        try:
            return method(request, timeout=timeout)
        except grpc.RpcError as error:
            translated = from_rpc_error(error)
            if isinstance(translated, ConnectionFailed):
                raise CliError(
                    f"no server could be reached at {self.address}: {error.details()}. Is one running there? "
                    "'taskyard dev' starts a yard, 'taskyard server start' a server",
                    ExitCode.UNREACHABLE,
                ) from None
            raise translated from None
