"""A complete agent without a stream, as small as the protocol allows: what a port to a language has to do.

`call` and `poll` keep the rules about numbers, `step` does the work; tests that need a lost response or a
malformed request use the parts.
"""

import threading
from collections.abc import Callable
from typing import Any

import grpc

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import template_pb2
from taskyard_contract.errors import ConnectionFailed, ServerStopping, StorageUnavailable, UnknownSession
from taskyard_contract.id_factory import new_id
from taskyard_contract.ids import split_ids
from taskyard_contract.transport.rpc_errors import from_rpc_error

REPEAT = (ConnectionFailed, ServerStopping, StorageUnavailable)
BACK_OFF_SECONDS = 0.02


class PollingAgent:
    """Executes tasks by name, a chunk at a time, in the thread that calls `step`."""

    def __init__(self, stub: Any, tasks: dict[str, Callable[[bytes], bytes]], name: str = "poller") -> None:
        self.stub = stub  # may be replaced, to dial another server
        self.ids: dict[str, Any] = {"agent_id": f"id-{name}", "session_id": new_id()}
        self.capabilities: tuple[str, ...] = ()
        self.held: dict[bytes, int] = {}
        self.drained = threading.Event()
        self.cancelled: list[bytes] = []
        self._tasks, self._name = tasks, name
        self._number = self._reported = 0
        self._greeted = self._draining = False
        self._templates: dict[int, template_pb2.TemplateDefinition] = {}

    def call(self, method: str, request: Any) -> Any:
        """Make a call; whatever keeps its response away, make it again."""
        while True:
            try:
                return getattr(self.stub, method)(request, timeout=10)
            except grpc.RpcError as error:
                told = from_rpc_error(error)  # type: ignore[arg-type]  # what stubs raise is a call as well
                if not isinstance(told, REPEAT):
                    raise told from None
                threading.Event().wait(BACK_OFF_SECONDS)

    def poll(self, **fields: Any) -> pb.PollResponse:
        """Ask for the next number, with a hello when the server does not know us."""
        self._number += 1
        request = pb.PollRequest(**self.ids, number=self._number, draining=self._draining, **fields)
        if not self._greeted:
            request.hello.CopyFrom(self._hello())
            self._templates = {}
        try:
            response: pb.PollResponse = self.call("Poll", request)
        except UnknownSession:
            self._greeted = False
            return self.poll(**fields)
        self._greeted = True
        self._templates.update({template.index: template for template in response.templates})
        for key in response.welcome.drop:
            self.held.pop(key.run_id, None)
        for chunk in response.chunks:
            self.held |= {run: chunk.first_epoch + at for at, run in enumerate(split_ids(chunk.run_ids))}
        return response

    def _hello(self) -> pb.AgentHello:
        held = [pb.RunKey(run_id=run_id, epoch=epoch) for run_id, epoch in self.held.items()]
        return pb.AgentHello(
            **self.ids,
            protocol_min=2,
            protocol_max=2,
            name=self._name,
            queues=["default"],
            slots=1,
            capabilities=self.capabilities,
            held=held,
        )

    def report(self, **fields: Any) -> None:
        """Report the next batch, until it is durable."""
        self._reported += 1
        request = pb.ReportBatchRequest(**self.ids, report_number=self._reported, **fields)
        while True:
            try:
                assert self.call("ReportBatch", request).reported_up_to >= self._reported
                return
            except UnknownSession:
                self.poll()

    def step(self, wait_ms: int = 200) -> None:
        """Poll once, and execute and report what came."""
        response = self.poll(max_runs=10, chunk_size=5, wait_ms=wait_ms)
        self._draining |= response.drain
        if response.drained:
            self.drained.set()
        gone = [key for key in response.cancel if self.held.pop(key.run_id, None)]
        self.cancelled += [key.run_id for key in gone]
        if gone:
            self.report(cancelled=gone)
        for chunk in response.chunks:
            self.report(reports=[self._execute(chunk)])
            for run_id in split_ids(chunk.run_ids):
                self.held.pop(run_id, None)

    def _execute(self, chunk: pb.AssignChunk) -> pb.ReportChunk:
        task = self._tasks[self._templates[chunk.template].template.code.task_name]
        columns = pb.ReportColumns(base_us=5_000_000)
        for position, args in enumerate(pb.ChunkBody.FromString(chunk.body).args):
            columns.started_us.append(0)
            columns.durations_us.append(10)
            try:
                columns.results.append(task(args))
            except Exception as error:
                columns.results.append(b"")
                columns.exceptions.add(position=position, kind=pb.REPORT_KIND_FAILED, message=str(error))
        return report_of(chunk.first_epoch, chunk.run_ids, columns)

    def run(self) -> None:
        """Work until drained, or until `drained` was set by somebody else."""
        while not self.drained.is_set():
            self.step()


def report_of(first_epoch: int, run_ids: bytes, columns: pb.ReportColumns) -> pb.ReportChunk:
    """Write a report as a worker would."""
    return pb.ReportChunk(first_epoch=first_epoch, run_ids=run_ids, columns=columns.SerializeToString())


def completed(epoch: int, run_id: bytes, result: bytes = b"done") -> pb.ReportChunk:
    """Write the report of one run that completed."""
    columns = pb.ReportColumns(base_us=5_000_000, started_us=[0], durations_us=[10], results=[result])
    return report_of(epoch, run_id, columns)
