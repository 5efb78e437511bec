"""A control plane that does what a test says: assigns chunks, acknowledges, cancels, hangs up.

It keeps no state machine; it remembers what agents sent, so that tests can look.
"""

import asyncio
import hashlib
import pickle
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from grpc import aio

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import blob_service_pb2, common_pb2, template_pb2
from taskyard_api.v1.agent_service_pb2_grpc import AgentServiceServicer, add_AgentServiceServicer_to_server
from taskyard_api.v1.blob_service_pb2_grpc import BlobServiceServicer, add_BlobServiceServicer_to_server
from taskyard_contract.capabilities import COROUTINES
from taskyard_contract.errors import BlobNotFound, TaskyardError
from taskyard_contract.id_factory import new_ids
from taskyard_contract.ids import split_ids
from taskyard_contract.payload_limits import MAX_INLINE_BYTES, MAX_PAYLOAD_BYTES
from taskyard_contract.transport.channels import SERVER_OPTIONS
from taskyard_contract.transport.rpc_errors import to_status


class Outcome:
    """What an agent reported of one run."""

    def __init__(self, result: bytes, exception: pb.ReportException | None, duration_us: int) -> None:
        self.result = result
        self.exception = exception
        self.duration_us = duration_us


class AgentStreamSide:
    """The server's side of one stream."""

    def __init__(self, hello: pb.AgentHello) -> None:
        self.hello = hello
        self.outbound: asyncio.Queue[pb.ServerFrame | TaskyardError | None] = asyncio.Queue()
        self.frames: list[pb.AgentFrame] = []
        self.granted = 0
        self.chunk_size = 1
        self.assigned = 0
        self.templates: set[int] = set()

    @property
    def credit(self) -> int:
        return self.granted - self.assigned


class ScriptedControlPlane(AgentServiceServicer, BlobServiceServicer):
    """The services an agent uses."""

    def __init__(self) -> None:
        self.lease_ms = 30_000
        self.heartbeat_ms = 200
        self.max_inline = MAX_INLINE_BYTES
        self.max_payload = MAX_PAYLOAD_BYTES
        self.capabilities = [COROUTINES]
        self.acknowledge = True
        self.answer_heartbeats = True
        self.refusal: TaskyardError | None = None
        self.drop: Callable[[pb.AgentHello], Iterable[pb.RunKey]] = lambda hello: ()
        self.streams: list[AgentStreamSide] = []
        self.outcomes: dict[bytes, Outcome] = {}
        self.reports: dict[bytes, int] = {}
        self.started: list[bytes] = []
        self.lost: dict[bytes, pb.LostRun] = {}
        self.cancelled: list[bytes] = []
        self.given_back: list[bytes] = []
        self.logs: list[tuple[bytes, str]] = []
        self.draining = False
        self.blobs: dict[bytes, bytes] = {}
        self.upload_refusal: TaskyardError | None = None
        self.on_frame: Callable[[AgentStreamSide, pb.AgentFrame], None] = lambda stream, frame: None
        self._definitions: dict[int, template_pb2.TemplateDefinition] = {}
        self.reassign = True
        self._keys: dict[bytes, pb.RunKey] = {}
        self._origins: dict[bytes, tuple[int, bytes]] = {}
        self._epoch = 1 << 32
        self._changed = asyncio.Event()
        self._server: aio.Server | None = None
        self.address = ""

    # The test's side -----------------------------------------------------------------------------------

    @property
    def stream(self) -> AgentStreamSide:
        return self.streams[-1]

    async def start(self, address: str = "127.0.0.1:0") -> None:
        self._server = aio.server(options=SERVER_OPTIONS)
        add_AgentServiceServicer_to_server(self, self._server)
        add_BlobServiceServicer_to_server(self, self._server)
        port = self._server.add_insecure_port(address)
        self.address = f"127.0.0.1:{port}"
        await self._server.start()

    async def stop(self) -> None:
        for stream in self.streams:
            stream.outbound.put_nowait(None)
        if self._server is not None:
            await self._server.stop(0.2)
            self._server = None

    def define(
        self,
        index: int,
        code: bytes = b"",
        *,
        reference: str = "",
        in_store: bool = False,
        encoding: str = "python/pickle5",
        timeout_ms: int = 0,
        coroutine: bool = False,
    ) -> None:
        """Define a template whose code is a blob (inline or in the store) or a reference."""
        template = template_pb2.RunTemplate(
            name="task", encoding=encoding, timeout_ms=timeout_ms, coroutine=coroutine
        )
        if reference:
            template.code.reference = reference
        if code:
            digest = hashlib.sha256(code).digest()
            template.code.blob_digest = digest
            if in_store:
                self.blobs[digest] = code
        definition = template_pb2.TemplateDefinition(
            index=index, template=template, code=b"" if in_store else code
        )
        self._definitions[index] = definition

    def chunk(
        self, index: int, args: list[bytes], *, blobs: Iterable[common_pb2.BlobRef] = (), **body: Any
    ) -> tuple[pb.AssignChunk, list[bytes]]:
        """Make a chunk of new runs; returns it and their ids."""
        ids = new_ids(len(args))
        filled = pb.ChunkBody(args=args, ordinals=range(len(args)), **body)
        chunk = pb.AssignChunk(
            first_epoch=self._epoch,
            template=index,
            run_ids=b"".join(ids),
            body=filled.SerializeToString(),
            blobs=blobs,
        )
        for run_id, given in zip(ids, args, strict=True):
            self._keys[run_id] = pb.RunKey(run_id=run_id, epoch=self._epoch)
            self._origins[run_id] = index, given
            self._epoch += 1
        return chunk, ids

    def _assign_again(self, run_id: bytes) -> None:
        """Assign a run that was given back, as a chunk of its own under a new epoch."""
        index, args = self._origins[run_id]
        body = pb.ChunkBody(args=[args], ordinals=[0]).SerializeToString()
        self._keys[run_id] = pb.RunKey(run_id=run_id, epoch=self._epoch)
        self.send(pb.AssignChunk(first_epoch=self._epoch, template=index, run_ids=run_id, body=body))
        self._epoch += 1

    def send(self, chunk: pb.AssignChunk) -> None:
        """Assign a chunk."""
        stream = self.stream
        frame = pb.ServerFrame(chunks=[chunk])
        if chunk.template not in stream.templates:
            stream.templates.add(chunk.template)
            frame.templates.append(self._definitions[chunk.template])
        stream.assigned += len(chunk.run_ids) // 16
        stream.outbound.put_nowait(frame)

    def assign(self, index: int, args: list[bytes], **body: Any) -> list[bytes]:
        """Assign new runs as one chunk; returns their ids."""
        chunk, ids = self.chunk(index, args, **body)
        self.send(chunk)
        return ids

    def key(self, run_id: bytes) -> pb.RunKey:
        """The run and the epoch it was assigned under."""
        return self._keys[run_id]

    def cancel(self, *run_ids: bytes) -> None:
        """Cancel runs."""
        self.stream.outbound.put_nowait(pb.ServerFrame(cancel=[self.key(run_id) for run_id in run_ids]))

    def result(self, run_id: bytes) -> Any:
        """The value a run returned."""
        outcome = self.outcomes[run_id]
        assert outcome.exception is None, outcome.exception
        return pickle.loads(outcome.result)

    def failed(self, run_id: bytes) -> pb.ReportException:
        """What a run reported instead of an ordinary result."""
        exception = self.outcomes[run_id].exception
        assert exception is not None
        return exception

    async def until(self, condition: Callable[[], bool], timeout: float = 30.0) -> None:
        """Wait until a condition over what was received holds."""
        async with asyncio.timeout(timeout):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    # gRPC's side -----------------------------------------------------------------------------------------

    async def Connect(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.AgentFrame], context: Any
    ) -> AsyncIterator[pb.ServerFrame]:
        first = await anext(aiter(request_iterator))
        if self.refusal is not None:
            await context.abort_with_status(to_status(self.refusal))
        stream = AgentStreamSide(first.hello)
        self.streams.append(stream)
        yield pb.ServerFrame(welcome=self._welcome(first.hello))
        self._changed.set()
        reader = asyncio.create_task(self._read(stream, request_iterator))
        try:
            while (frame := await stream.outbound.get()) is not None:
                if isinstance(frame, TaskyardError):
                    await context.abort_with_status(to_status(frame))
                else:
                    yield frame
        finally:
            reader.cancel()

    def _welcome(self, hello: pb.AgentHello) -> pb.AgentWelcome:
        return pb.AgentWelcome(
            protocol=1,
            lease_ms=self.lease_ms,
            heartbeat_ms=self.heartbeat_ms,
            drop=self.drop(hello),
            max_inline_bytes=self.max_inline,
            max_payload_bytes=self.max_payload,
            capabilities=self.capabilities,
        )

    async def _read(self, stream: AgentStreamSide, frames: AsyncIterator[pb.AgentFrame]) -> None:
        async for frame in frames:
            stream.frames.append(frame)
            self._note(stream, frame)
            self.on_frame(stream, frame)
            answer = pb.ServerFrame()
            if frame.report_number and self.acknowledge:
                answer.reported_up_to = frame.report_number
            if frame.heartbeat and self.answer_heartbeats:
                answer.heartbeat = frame.heartbeat
            if answer.ByteSize():
                stream.outbound.put_nowait(answer)
            self._changed.set()
        stream.outbound.put_nowait(None)

    def _note(self, stream: AgentStreamSide, frame: pb.AgentFrame) -> None:
        if frame.HasField("credit"):
            stream.granted, stream.chunk_size = frame.credit.granted_total, frame.credit.chunk_size
        if frame.HasField("logs"):
            self.logs += zip(frame.logs.run_ids, frame.logs.messages, strict=True)
        for chunk in frame.reports:
            self._note_report(chunk)
        self.started += [started.key.run_id for started in frame.started]
        self.cancelled += [key.run_id for key in frame.cancelled]
        self.given_back += [key.run_id for key in frame.given_back]
        self.lost.update({lost.key.run_id: lost for lost in frame.lost})
        self.draining = self.draining or frame.draining
        if self.reassign and not self.draining:
            for key in frame.given_back:
                self._assign_again(key.run_id)

    def _note_report(self, chunk: pb.ReportChunk) -> None:
        columns = pb.ReportColumns.FromString(chunk.columns)
        exceptions = {entry.position: entry for entry in columns.exceptions}
        rows = zip(split_ids(chunk.run_ids), columns.results, columns.durations_us, strict=True)
        for position, (run_id, result, duration) in enumerate(rows):
            self.outcomes[run_id] = Outcome(result, exceptions.get(position), duration)
            self.reports[run_id] = self.reports.get(run_id, 0) + 1

    async def DownloadBlob(  # noqa: N802
        self, request: blob_service_pb2.DownloadBlobRequest, context: Any
    ) -> AsyncIterator[blob_service_pb2.DownloadBlobResponse]:
        data = self.blobs.get(request.digest)
        if data is None:
            await context.abort_with_status(to_status(BlobNotFound()))
            return
        for start in range(0, len(data), 1 << 20):
            yield blob_service_pb2.DownloadBlobResponse(part=data[start : start + (1 << 20)])

    async def UploadBlob(  # noqa: N802
        self, request_iterator: AsyncIterator[blob_service_pb2.UploadBlobRequest], context: Any
    ) -> blob_service_pb2.UploadBlobResponse:
        if self.upload_refusal is not None:
            await context.abort_with_status(to_status(self.upload_refusal))
        first = await anext(aiter(request_iterator))
        data = first.part + b"".join([message.part async for message in request_iterator])
        assert hashlib.sha256(data).digest() == first.blob.digest
        self.blobs[first.blob.digest] = data
        return blob_service_pb2.UploadBlobResponse(blob=first.blob)


@asynccontextmanager
async def scripted() -> AsyncIterator[ScriptedControlPlane]:
    """A running scripted control plane."""
    server = ScriptedControlPlane()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
