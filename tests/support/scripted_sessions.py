"""A control plane for tests of the SDK: keeps nothing, executes tasks in its own process, does as told.

It speaks the session protocol over a real socket, so the client under test is the real one. What it
should do differently (refuse, stay silent, break the stream) is set by the test.
"""

import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import grpc
import grpc.aio

from taskyard_api.v1 import agent_service_pb2, common_pb2, errors_pb2, template_pb2
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_api.v1.session_service_pb2_grpc import (
    SessionServiceServicer,
    add_SessionServiceServicer_to_server,
)
from taskyard_contract import pickling
from taskyard_contract.blobs.names import name_of, sha256_name
from taskyard_contract.encodings import BUFFERS, decode
from taskyard_contract.execution import Invocation
from taskyard_contract.log_entry import LogEntry
from taskyard_contract.references import read_stored_with
from taskyard_contract.states import FlowEvent, ReportKind, RunState, UpstreamKind
from taskyard_contract.values.layout import LaidOut

Result = bytes | pb.RunOutcome
Run = tuple[Invocation, dict[bytes, int]]


class Host:
    """The worker host of runs executed here; keeps their logs."""

    def __init__(self) -> None:
        self.logs: list[str] = []

    def log(self, entry: LogEntry) -> None:
        self.logs.append(entry[4])

    def blocked(self) -> Any:
        return nullcontext()


class ScriptedSessions(SessionServiceServicer):
    """The service. Attributes are the script and the record of what happened."""

    def __init__(self) -> None:
        self.hellos: list[pb.SessionHello] = []
        self.frames: list[pb.ClientFrame] = []
        self.flow_events: list[int] = []
        self.cancelled: list[bytes] = []
        self.goodbyes = 0
        self.submitted: list[bytes] = []
        self.reports: list[pb.FlowReport] = []
        self.host = Host()
        self.execute = True
        self.acknowledge = True
        self.window = 8
        self.refuse: Callable[[bytes], errors_pb2.ErrorDetail | None] = lambda run_id: None
        self.decide: Callable[[pb.FlowReport], pb.FlowDecision] = _accept
        self.break_after: int | None = None
        self.results: dict[bytes, Result] = {}
        self.streams: list[Any] = []
        self.blobs: dict[str, bytes] = {}
        self._waiting: list[Run] = []
        self._pool = ThreadPoolExecutor(1)

    def close(self) -> None:
        """End the thread that executes tasks."""
        self._pool.shutdown()

    async def Connect(self, frames: AsyncIterator[pb.ClientFrame], context: Any) -> AsyncIterator[Any]:  # noqa: N802
        templates: dict[int, template_pb2.RunTemplate] = {}
        self.streams.append(context)
        seen = 0
        async for frame in frames:
            self.frames.append(frame)
            seen += 1
            if frame.HasField("hello"):
                self.hellos.append(frame.hello)
                yield self.welcome()
            if self.break_after is not None and seen > self.break_after:
                self.break_after = None
                await context.abort(grpc.StatusCode.UNAVAILABLE, "scripted break")
            self.goodbyes += frame.goodbye
            for answer in self.answers(frame, templates):
                yield answer

    def welcome(self) -> pb.SessionFrame:
        """The first frame of a stream."""
        welcome = pb.SessionWelcome(
            protocol=1,
            lease_ms=30_000,
            heartbeat_ms=5_000,
            max_inline_bytes=65_536,
            max_payload_bytes=1_000_000,
            max_unacked_batches=self.window,
        )
        return pb.SessionFrame(welcome=welcome)

    def answers(
        self, frame: pb.ClientFrame, templates: dict[int, template_pb2.RunTemplate]
    ) -> list[pb.SessionFrame]:
        """What a stream with these templates gets back for a frame."""
        answers = []
        if frame.HasField("submit"):
            answers.append(self._submitted(frame.submit, templates))
        self.cancelled.extend(frame.cancel)
        decisions = []
        for report in frame.flow_reports:
            self.flow_events.append(report.event)
            self.reports.append(report)
            decisions.append(self.decide(report))
        if decisions:
            answers.append(pb.SessionFrame(flow_decisions=decisions))
        known = {run_id: self.results[run_id] for run_id in frame.subscribe if run_id in self.results}
        if known:
            answers.append(_results(known))
        return answers

    def _submitted(
        self, batch: pb.SubmitBatch, templates: dict[int, template_pb2.RunTemplate]
    ) -> pb.SessionFrame:
        for blob in batch.blobs:
            self.blobs[sha256_name(blob.digest)] = blob.data
        for definition in batch.templates:
            templates[definition.index] = definition.template
        answer = pb.SessionFrame(submitted_up_to=batch.number if self.acknowledge else 0)
        for group in batch.groups:
            self._keep_group(group, templates[group.template], answer)
        done = self._run_ready() if self.execute else {}
        if done:
            answer.results.CopyFrom(_results(done).results)
        return answer

    def _keep_group(
        self, group: pb.RunGroup, template: template_pb2.RunTemplate, answer: pb.SessionFrame
    ) -> None:
        upstream: dict[int, dict[bytes, int]] = {}
        edges = zip(group.upstream_positions, group.upstream_ids, group.upstream_kinds, strict=True)
        for position, run_id, kind in edges:
            upstream.setdefault(position, {})[run_id] = kind
        extras = {extra.position: extra for extra in group.extras}
        for position, run_id in enumerate(group.run_ids):
            error = self.refuse(run_id)
            if error is not None:
                answer.refused.add(run_id=run_id, error=error, message="scripted refusal")
                continue
            if template.kind == 2 or run_id in self.results:
                continue
            extra = extras.get(position, pb.RunExtra())
            stored = self.blobs[name_of(extra.args)] if extra.HasField("args") else extra.payload.data
            self.submitted.append(run_id)
            invocation = Invocation(
                run_id,
                1,
                template,
                stored or (group.args[position] if group.args else b""),
                flow_run_id=group.flow_run_id,
                parent_run_id=group.caller_run_id,
                ordinal=group.first_ordinal + position,
                name=extra.name,
            )
            self._waiting.append((invocation, upstream.get(position, {})))

    def _run_ready(self) -> dict[bytes, Result]:
        """Execute what can be; repeats until nothing is ready."""
        done: dict[bytes, Result] = {}
        progress = True
        while progress:
            waiting, self._waiting = self._waiting, []
            for invocation, upstream in waiting:
                if all(run_id in self.results for run_id in upstream):
                    done[invocation.run_id] = self.results[invocation.run_id] = self._execute(
                        invocation, upstream
                    )
                else:
                    self._waiting.append((invocation, upstream))
            progress = bool(self._waiting) and len(self._waiting) < len(waiting)
        return done

    def _execute(self, invocation: Invocation, upstream: dict[bytes, int]) -> Result:
        inputs = {}
        for run_id, kind in upstream.items():
            value = self.results[run_id]
            if isinstance(value, bytes):
                inputs[run_id] = pickling.loads(value)
            elif kind in (UpstreamKind.DATA_OR_FAILURE, UpstreamKind.ORDER_OR_FAILURE):
                inputs[run_id] = pickling.loads(value.failure.encoded.data)
            else:
                message = f"Upstream task run '{run_id.hex()}' did not reach a 'COMPLETED' state."
                return pb.RunOutcome(run_id=invocation.run_id, state=RunState.NOT_READY, message=message)
        invocation.inputs = inputs
        return self._attempts(invocation)

    def _attempts(self, invocation: Invocation) -> Result:
        read_stored_with(lambda name, size, checksum, encoding: decode(self.blobs[name], encoding))
        code = pickling.loads(self.blobs[sha256_name(invocation.template.code.blob_digest)])
        while True:
            # In a thread of its own: the loop of this server must not be the one tasks see.
            report = self._pool.submit(code.execute, invocation, self.host).result()
            if isinstance(report, bytes):
                return report
            if isinstance(report, LaidOut):
                payload = common_pb2.Payload(encoding=BUFFERS, data=report.joined())
                return pb.RunOutcome(run_id=invocation.run_id, state=RunState.COMPLETED, result=payload)
            if report.kind == ReportKind.CACHE_KEY:
                invocation.cache_key_decided = True
            elif report.kind == ReportKind.FAILED and not report.not_retriable:
                if invocation.attempt > invocation.template.retry.max_retries:
                    return _outcome(invocation.run_id, report)
                invocation.attempt += 1
            else:
                return _outcome(invocation.run_id, report)


_STATES = {
    ReportKind.SUCCEEDED: RunState.COMPLETED,
    ReportKind.FAILED: RunState.FAILED,
    ReportKind.CANCELLED: RunState.CANCELLED,
    ReportKind.INTERRUPTED: RunState.CRASHED,
}
_FLOW_STATES = {
    FlowEvent.STARTED: RunState.RUNNING,
    FlowEvent.SUCCEEDED: RunState.COMPLETED,
    FlowEvent.FAILED: RunState.FAILED,
    FlowEvent.CANCELLED: RunState.CANCELLED,
    FlowEvent.INTERRUPTED: RunState.CRASHED,
}


def _outcome(run_id: bytes, report: agent_service_pb2.ReportException) -> pb.RunOutcome:
    outcome = pb.RunOutcome(
        run_id=run_id,
        state=_STATES[ReportKind(report.kind)],
        reason=report.reason,
        state_name=report.state_name,
        message=report.message,
        run_name=report.run_name,
    )
    if report.HasField("result"):
        outcome.result.CopyFrom(report.result)
    if report.HasField("failure"):
        outcome.failure.CopyFrom(report.failure)
    return outcome


def _accept(report: pb.FlowReport) -> pb.FlowDecision:
    return pb.FlowDecision(run_id=report.run_id, state=_FLOW_STATES[FlowEvent(report.event)], attempt=1)


def _results(results: dict[bytes, Result]) -> pb.SessionFrame:
    batch = pb.ResultBatch()
    for run_id, result in results.items():
        if isinstance(result, bytes):
            batch.run_ids.append(run_id)
            batch.data.append(result)
        else:
            batch.others.append(result)
    return pb.SessionFrame(results=batch)


class ScriptedServer:
    """Runs `ScriptedSessions` on a loop thread of its own."""

    def __init__(self, address: str) -> None:
        import asyncio

        self.address = address
        self.sessions = ScriptedSessions()
        self._loop = asyncio.new_event_loop()
        self._server: grpc.aio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._call(self._start())

    async def _start(self) -> None:
        self._server = grpc.aio.server()
        add_SessionServiceServicer_to_server(self.sessions, self._server)
        self._server.add_insecure_port(self.address)
        await self._server.start()

    def _call(self, work: Any) -> Any:
        import asyncio

        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def restart(self) -> None:
        """Stop the server, with all its streams, and start it again."""
        self.stop()
        self._call(self._start())

    def stop(self) -> None:
        """Stop the server at once."""
        if self._server is not None:
            self._call(self._server.stop(0))
        self._server = None

    def close(self) -> None:
        """Stop the server and its thread."""
        self.stop()
        self.sessions.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()
