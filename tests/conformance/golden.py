"""Canonical messages: their bytes, their JSON and what they mean, for those who write or check a port.

    python -m conformance.golden > tests/conformance/golden.json

writes them anew. What was released once is never changed: bytes that are on somebody's disk, or in an older
program, mean the same for ever. Messages are added.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf import any_pb2, duration_pb2, json_format
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import common_pb2, failure_pb2, states_pb2, template_pb2
from taskyard_api.v1 import errors_pb2 as ep
from taskyard_api.v1 import run_service_pb2 as rp
from taskyard_api.v1 import session_service_pb2 as sp

FILE = Path(__file__).parent / "golden.json"
TYPE_URL = "type.googleapis.com/taskyard_api.v1.ErrorDetail"
FIRST, SECOND, FLOW, SESSION = (
    bytes.fromhex(f"0190000000007000800000000{number}0000") for number in ("000", "001", "002", "003")
)
EPOCH = (7 << 32) + 1
ARGS = b'{"args":[3,4],"kwargs":{}}'
REFERENCE = b'{"args":[{"$taskyard.run":"01900000-0000-7000-8000-000000000000"}],"kwargs":{}}'


class Golden(NamedTuple):
    """One message."""

    name: str
    means: str
    message: Message

    def written(self) -> dict[str, Any]:
        """Return it as it stands in the file."""
        return {
            "name": self.name,
            "means": self.means,
            "message": self.message.DESCRIPTOR.full_name,
            "json": json_format.MessageToDict(self.message),
            "hex": self.message.SerializeToString(deterministic=True).hex(),
        }


def template(**fields: Any) -> template_pb2.RunTemplate:
    """A task by name with JSON arguments."""
    return template_pb2.RunTemplate(
        kind=states_pb2.RUN_KIND_TASK,
        name="go.sum",
        task_key="go.sum",
        queue="go",
        code=template_pb2.Code(task_name="go.sum"),
        encoding="json/plain",
        **fields,
    )


def messages() -> list[Golden]:
    """Return all of them."""
    return [Golden(*row) for part in (_agents, _sessions, _chunks, _runs, _errors) for row in part()]


def _agents() -> Iterator[tuple[str, str, Message]]:
    hello = ap.AgentHello(
        protocol_min=2,
        protocol_max=2,
        agent_id="go-1",
        session_id=SESSION,
        name="go-1",
        queues=["go"],
        slots=4,
        labels={"gpu": "a100"},
        capabilities=["json/plain", "code/name"],
        held=[ap.RunKey(run_id=FIRST, epoch=EPOCH)],
        agent_version="1.0",
        stream_number=2,
        tasks=[ap.TaskOffer(name="go.sum", version="3", encodings=["json/plain"])],
    )
    yield (
        "agent-hello",
        "An agent opens its second stream, on which it still holds one run.",
        ap.AgentFrame(hello=hello),
    )
    yield (
        "agent-credit",
        "Ten runs may have come since the stream opened, in chunks of at most five.",
        ap.AgentFrame(credit=ap.Credit(granted_total=10, chunk_size=5)),
    )
    yield (
        "agent-poll",
        "The third poll of a session takes up to ten runs and waits for them for five seconds.",
        ap.PollRequest(
            agent_id="go-1", session_id=SESSION, number=3, max_runs=10, chunk_size=5, wait_ms=5_000
        ),
    )


def _sessions() -> Iterator[tuple[str, str, Message]]:
    hello = sp.SessionHello(
        protocol_min=2, protocol_max=2, session_id=SESSION, client_name="go client", stream_number=1
    )
    yield "session-hello", "A client opens the first stream of its session.", sp.ClientFrame(hello=hello)
    group = sp.RunGroup(
        template=1,
        run_ids=[FIRST, SECOND],
        args=[ARGS, REFERENCE],
        upstream_positions=[1],
        upstream_ids=[FIRST],
        upstream_kinds=[sp.UPSTREAM_KIND_DATA],
    )
    batch = sp.SubmitBatch(
        number=1,
        templates=[template_pb2.TemplateDefinition(index=1, template=template())],
        groups=[group],
    )
    yield (
        "session-submit",
        "Two runs of one task; the second has the result of the first as its argument, and the edge says so.",
        sp.ClientFrame(submit=batch),
    )


def _chunks() -> Iterator[tuple[str, str, Message]]:
    body = ap.ChunkBody(
        args=[ARGS, REFERENCE],
        ordinals=[0, 1],
        input_positions=[1],
        input_ids=[FIRST],
        inputs=[b"7"],
        extras=[ap.AttemptExtra(position=1, attempt=2)],
    )
    yield (
        "chunk-body",
        "Arguments of two runs; the second is in its second attempt, and gets the 7 that the first returned.",
        body,
    )
    yield (
        "assign-chunk",
        "These two runs under the epochs 7 * 2^32 + 1 and + 2; `body` has the bytes of chunk-body.",
        ap.AssignChunk(first_epoch=EPOCH, template=1, run_ids=FIRST + SECOND, body=body.SerializeToString()),
    )
    failure = failure_pb2.Failure(type="ValueError", message="no good", source="go")
    columns = ap.ReportColumns(
        base_us=1_700_000_000_000_000,
        started_us=[0, 1_500],
        durations_us=[1_000, 2_000],
        results=[b"7", b""],
        exceptions=[
            ap.ReportException(position=1, kind=ap.REPORT_KIND_FAILED, message="no good", failure=failure)
        ],
    )
    yield "report-columns", "The first of two runs returned 7, the second failed.", columns
    report = ap.ReportChunk(first_epoch=EPOCH, run_ids=FIRST + SECOND, columns=columns.SerializeToString())
    yield (
        "agent-report",
        "The fifth numbered frame of a session; `columns` has the bytes of report-columns.",
        ap.AgentFrame(report_number=5, reports=[report]),
    )
    lost = ap.LostRun(
        key=ap.RunKey(run_id=FIRST, epoch=EPOCH),
        reason=states_pb2.STATE_REASON_TIMED_OUT,
        message="exceeded its timeout of 3 s",
    )
    yield "agent-lost", "A run was ended at its timeout.", ap.AgentFrame(report_number=6, lost=[lost])


def _runs() -> Iterator[tuple[str, str, Message]]:
    run = rp.NewRun(
        run_id=FIRST,
        template=template(retry=template_pb2.RetryPolicy(max_retries=2, delays_ms=[100, 1_000])),
        args=common_pb2.Payload(encoding="json/plain", data=ARGS),
        headers={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
    )
    yield "submit-runs", "One run of a task by name, with two retries.", rp.SubmitRunsRequest(runs=[run])
    wait = rp.WaitRunRequest(run_id=FIRST, timeout_ms=30_000)
    yield "wait-run", "Wait for half a minute.", wait
    ended = rp.Run(
        run_id=FIRST,
        kind=states_pb2.RUN_KIND_TASK,
        name="go.sum-0",
        task_name="go.sum",
        state=states_pb2.RUN_STATE_COMPLETED,
        attempt=1,
        result=common_pb2.Payload(encoding="json/plain", data=b"7"),
    )
    yield (
        "watch-runs",
        "A run has ended; everything there was at the beginning has been told.",
        rp.WatchRunsResponse(runs=[ended], resume_token="token", caught_up=True),
    )


def _errors() -> Iterator[tuple[str, str, Message]]:
    busy = ep.ErrorDetail(reason=ep.ERROR_REASON_OVERLOADED, retry_after_ms=250)
    yield "error-detail", "Repeat after a quarter of a second.", busy
    packed = any_pb2.Any(type_url=TYPE_URL, value=busy.SerializeToString())
    delay = any_pb2.Any()
    delay.Pack(error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(nanos=250_000_000)))
    status = status_pb2.Status(code=code_pb2.RESOURCE_EXHAUSTED, message="too much", details=[packed, delay])
    yield (
        "error-status",
        "The same as a call ends with it, in the trailer grpc-status-details-bin. The delay is told twice.",
        status,
    )
    field = ep.ErrorDetail(reason=ep.ERROR_REASON_INVALID_REQUEST, field="runs[0].template.queue")
    yield (
        "refused-run",
        "One run of a batch was not taken; a call would have ended with INVALID_ARGUMENT.",
        sp.RefusedRun(run_id=FIRST, error=field, message="no queue", code=code_pb2.INVALID_ARGUMENT),
    )


def text() -> str:
    """Return the file."""
    return json.dumps([golden.written() for golden in messages()], indent=2) + "\n"


if __name__ == "__main__":
    print(text(), end="")
