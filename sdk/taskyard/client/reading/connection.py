"""A client's way to its control plane, and from there to the values of runs."""

import threading
from typing import TYPE_CHECKING, Any
from uuid import UUID

from taskyard._data.runs.tracking import as_tracking_run, is_subflow, tracked_flow_run
from taskyard._network.server.calls import Client
from taskyard._network.server.locating import locator
from taskyard.exceptions import RunNotFound
from taskyard_api.v1 import common_pb2, run_service_pb2
from taskyard_contract.encodings import decode_payload
from taskyard_contract.states import RunKind

if TYPE_CHECKING:
    from taskyard_api.v1.run_service_pb2 import Run

_WORDS = {RunKind.TASK: "task", RunKind.FLOW: "flow"}
_FULL_PAGE = 1_000


class Connection:
    """Unary calls of one control plane, or of the local yard, which is started when it has ended."""

    def __init__(self, address: str) -> None:
        """Mean a control plane; nothing is asked yet.

        Args:
            address: ``HOST:PORT`` or ``unix:PATH``; empty for the local yard.
        """
        self._locate = locator(address)
        self._client: Client | None = None
        self._lock = threading.Lock()

    def address(self) -> str:
        """Return where it is."""
        return self._locate()

    def calls(self) -> Client:
        """Return what makes calls, which go on while the control plane is being replaced."""
        address = self._locate()
        with self._lock:
            former = self._client
            if former is not None and former.address == address:
                return former
            client = self._client = Client(address, patient=True)
        if former is not None:
            former.close()
        return client

    def close(self) -> None:
        """End the connection; a further call opens another one."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def run(self, run_id: "UUID", kind: RunKind) -> "Run":
        """Read a run of a kind, with all that is told of it but its result; or a tracking run.

        Raises:
            RunNotFound: There is none.
        """
        subflow = tracked_flow_run(run_id.bytes) if kind is RunKind.TASK else b""
        run = self.calls().get_run(subflow or run_id.bytes, full=True)
        if subflow and is_subflow(run):
            return as_tracking_run(run)
        if subflow:
            raise RunNotFound(
                f"task run {run_id} does not exist: flow run {UUID(bytes=subflow)} is no subflow"
            )
        if int(run.kind) != kind:
            other = _WORDS[RunKind(run.kind)]
            raise RunNotFound(f"{_WORDS[kind]} run {run_id} does not exist: it is a {other} run")
        return run

    def read_again(self, run: "Run") -> "Run":
        """Read a run with its result, however long after the client was closed."""
        with Client(self._locate(), patient=True) as calls:
            return calls.get_run(tracked_flow_run(run.run_id) or run.run_id, include_result=True)

    def decode(self, payload: common_pb2.Payload) -> Any:
        """Return the value of a payload, which may be a blob."""
        return decode_payload(payload, self._fetch)

    def _fetch(self, ref: common_pb2.BlobRef) -> bytes | memoryview:
        with Client(self._locate(), patient=True) as calls:
            return calls.download(ref)

    def with_arguments(self, runs: "list[Run]") -> "list[Run]":
        """Return runs that were listed with their arguments and templates.

        Only of what is returned: to have them of everything that is looked through would take much longer.
        """
        found: dict[bytes, Run] = {}
        for first in range(0, len(runs), _FULL_PAGE):
            ids = [run.run_id for run in runs[first : first + _FULL_PAGE]]
            found.update((run.run_id, run) for run in self._full(ids))
        for run in runs:
            full = found.get(run.run_id)
            if full is not None:  # retention may have come in between
                run.args.CopyFrom(full.args)
                run.template.CopyFrom(full.template)
        return runs

    def _full(self, run_ids: list[bytes]) -> "list[Run]":
        request = run_service_pb2.ListRunsRequest(
            filter=run_service_pb2.RunFilter(run_ids=run_ids),
            page_size=len(run_ids),
            view=run_service_pb2.RUN_VIEW_FULL,
        )
        runs: list[Run] = []
        while True:
            page = self.calls().list_runs(request)
            runs += page.runs
            if not page.next_page_token:
                return runs
            request.page_token = page.next_page_token
