"""Whoever is refused because of a field is told which one, as a path from the request."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

import taskyard_controlplane
from taskyard_api.v1 import admin_service_pb2 as admin
from taskyard_api.v1 import blob_service_pb2 as bp
from taskyard_api.v1 import common_pb2, states_pb2
from taskyard_api.v1 import run_service_pb2 as pb
from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_api.v1 import template_pb2 as tp
from taskyard_contract.errors import DigestMismatch, InvalidRequest, TaskyardError
from taskyard_contract.id_factory import new_id, new_ids
from taskyard_contract.ids import format_id
from taskyard_contract.transport.rpc_errors import from_rpc_error

DIGEST = bytes(32)
NAME = f"b3-{DIGEST.hex()}"
OF_A_RESULT = common_pb2.BlobRef(name=f"run-{bytes(16).hex()}-{bytes(8).hex()}", size=1)


def run(**changes: Any) -> pb.NewRun:
    return pb.NewRun(**{"run_id": new_id(), "template": template(), **changes})


def template(**changes: Any) -> tp.RunTemplate:
    usual = {
        "kind": states_pb2.RUN_KIND_TASK, "name": "add", "queue": "default", "code": tp.Code(task_name="add"),
    }  # fmt: skip
    return tp.RunTemplate(**{**usual, **changes})


def submitting(**changes: Any) -> pb.SubmitRunsRequest:
    """A request whose second run is wrong."""
    return pb.SubmitRunsRequest(runs=[run(), run(**changes)])


def of_template(**changes: Any) -> pb.SubmitRunsRequest:
    return submitting(template=template(**changes))


def listing(**fields: Any) -> pb.ListRunsRequest:
    return pb.ListRunsRequest(filter=pb.RunFilter(**fields))


SAME = run()
IN_SHARD_1 = bytes.fromhex("01900000 0000 7000 8000 000000000001")
REFUSED: list[tuple[str, str, Any, str]] = [
    ("runs", "SubmitRuns", submitting(run_id=b"short"), "runs[1].run_id"),
    ("runs", "SubmitRuns", submitting(run_id=b"r" * 16), "runs[1].run_id"),
    ("runs", "SubmitRuns", submitting(run_id=IN_SHARD_1), "runs[1].run_id"),
    ("runs", "SubmitRuns", pb.SubmitRunsRequest(runs=[SAME, SAME]), "runs[1].run_id"),
    ("runs", "SubmitRuns", of_template(kind=states_pb2.RUN_KIND_FLOW), "runs[1].template.kind"),
    ("runs", "SubmitRuns", of_template(name=""), "runs[1].template.name"),
    ("runs", "SubmitRuns", of_template(code=None), "runs[1].template.code"),
    ("runs", "SubmitRuns", of_template(code=tp.Code(task_name="")), "runs[1].template.code.task_name"),
    ("runs", "SubmitRuns", of_template(code=tp.Code(reference="")), "runs[1].template.code.reference"),
    ("runs", "SubmitRuns", of_template(code=tp.Code(blob_digest=b"short")),
     "runs[1].template.code.blob_digest"),
    ("runs", "SubmitRuns", of_template(queue=""), "runs[1].template.queue"),
    ("runs", "SubmitRuns", of_template(queue="a\x00b"), "runs[1].template.queue"),
    ("runs", "SubmitRuns", of_template(task_key="k" * 1_025), "runs[1].template.task_key"),
    ("runs", "SubmitRuns", of_template(encoding="e" * 1_025), "runs[1].template.encoding"),
    ("runs", "SubmitRuns", of_template(result_encoding="e" * 1_025), "runs[1].template.result_encoding"),
    ("runs", "SubmitRuns", of_template(python_version="3" * 1_025), "runs[1].template.python_version"),
    ("runs", "SubmitRuns", of_template(environment="e" * 1_025), "runs[1].template.environment"),
    ("runs", "SubmitRuns", of_template(agent_labels={"a": "\n"}), "runs[1].template.agent_labels"),
    ("runs", "SubmitRuns", of_template(agent_labels={"a": "b" * 1_024}), "runs[1].template.agent_labels"),
    ("runs", "SubmitRuns", of_template(executor=states_pb2.EXECUTOR_SESSION), "runs[1].template.executor"),
    ("runs", "SubmitRuns", of_template(concurrency_keys=["k"]), "runs[1].template.concurrency_keys"),
    ("runs", "SubmitRuns", of_template(world=tp.World(variables=["A"] * 1_025)),
     "runs[1].template.world.variables"),
    ("runs", "SubmitRuns", of_template(world=tp.World(options=b" " * 8_193)),
     "runs[1].template.world.options"),
    ("runs", "SubmitRuns", of_template(retry=tp.RetryPolicy(delays_ms=[1] * 1_001)),
     "runs[1].template.retry.delays_ms"),
    ("runs", "SubmitRuns", of_template(retry=tp.RetryPolicy(jitter_factor=-1)),
     "runs[1].template.retry.jitter_factor"),
    ("runs", "SubmitRuns", submitting(upstream=[pb.Upstream(run_id=b"short", kind=1)]),
     "runs[1].upstream[0].run_id"),
    ("runs", "SubmitRuns", submitting(upstream=[pb.Upstream(run_id=new_id())]), "runs[1].upstream[0].kind"),
    ("runs", "SubmitRuns",
     pb.SubmitRunsRequest(runs=[run(run_id=SAME.run_id, upstream=[pb.Upstream(run_id=SAME.run_id, kind=1)])]),
     "runs[0].upstream[0].run_id"),
    ("runs", "SubmitRuns", submitting(args=common_pb2.Payload(type="t" * 1_025)), "runs[1].args.type"),
    ("runs", "SubmitRuns", submitting(args=common_pb2.Payload(blob=common_pb2.BlobRef(digest=b"short"))),
     "runs[1].args.blob.digest"),
    ("runs", "SubmitRuns", submitting(args=common_pb2.Payload(blob=common_pb2.BlobRef(name="../x"))),
     "runs[1].args.blob.name"),
    ("runs", "SubmitRuns", submitting(args=common_pb2.Payload(blob=OF_A_RESULT)), "runs[1].args.blob.name"),
    ("runs", "SubmitRuns",
     submitting(args=common_pb2.Payload(values=[common_pb2.BlobRef(name=NAME, size=1), OF_A_RESULT])),
     "runs[1].args.values[1].name"),
    ("runs", "SubmitRuns", submitting(start_at_us=1), "runs[1].start_at_us"),
    ("runs", "SubmitRuns", submitting(expires_at_us=1), "runs[1].expires_at_us"),
    ("runs", "SubmitRuns", submitting(idempotency_key="k"), "runs[1].idempotency_key"),
    ("runs", "SubmitRuns", submitting(idempotency_window_ms=1), "runs[1].idempotency_window_ms"),
    ("runs", "SubmitRuns", pb.SubmitRunsRequest(blobs=[common_pb2.InlineBlob(digest=b"short")]),
     "blobs[0].digest"),
    ("runs", "SubmitRuns", pb.SubmitRunsRequest(blobs=[common_pb2.InlineBlob(digest=DIGEST)]),
     "blobs[0].digest"),
    ("runs", "GetRun", pb.GetRunRequest(run_id=b"short"), "run_id"),
    ("runs", "WaitRun", pb.WaitRunRequest(run_id=b"short"), "run_id"),
    ("runs", "CancelRun", pb.CancelRunRequest(run_id=b"short"), "run_id"),
    ("runs", "CancelRun", pb.CancelRunRequest(run_id=new_id(), requested_by="b" * 1_025), "requested_by"),
    ("runs", "ListRunStates", pb.ListRunStatesRequest(run_id=b"short"), "run_id"),
    ("runs", "ListRunStates", pb.ListRunStatesRequest(run_id=new_id(), page_token="no"), "page_token"),
    ("runs", "ListRunLogs", pb.ListRunLogsRequest(run_id=b"short"), "run_id"),
    ("runs", "ListRunLogs", pb.ListRunLogsRequest(run_id=new_id(), page_token="no"), "page_token"),
    ("runs", "ListRuns", pb.ListRunsRequest(page_token="no"), "page_token"),
    ("runs", "ListRuns", listing(kind=77), "filter.kind"),
    ("runs", "ListRuns", listing(flow_run_id=b"short"), "filter.flow_run_id"),
    ("runs", "ListRuns", listing(states=[77]), "filter.states"),
    ("runs", "ListRuns", listing(states=[101] * 20), "filter.states"),
    ("runs", "ListRuns", listing(name_contains="n" * 1_025), "filter.name_contains"),
    ("runs", "SummarizeRuns", pb.SummarizeRunsRequest(flow_run_id=b"short"), "flow_run_id"),
    ("runs", "SummarizeRuns", pb.SummarizeRunsRequest(flow_run_id=new_id(), page_token="no"), "page_token"),
    ("admin", "ListAgents", admin.ListAgentsRequest(page_token="no"), "page_token"),
    ("admin", "DrainAgent", admin.DrainAgentRequest(), "agent_id"),
    ("admin", "DrainAgent", admin.DrainAgentRequest(agent_id="a", requested_by="b" * 1_025), "requested_by"),
    ("admin", "ListTasks", admin.ListTasksRequest(page_token="no"), "page_token"),
    ("admin", "ListTasks", admin.ListTasksRequest(queue="q" * 1_025), "queue"),
    ("blobs", "FindMissingBlobs", bp.FindMissingBlobsRequest(digests=[DIGEST, b"short"]), "digests[1]"),
    ("blobs", "FindMissingBlobs", bp.FindMissingBlobsRequest(digests=[DIGEST] * 1_001), "digests"),
    ("blobs", "FindMissingBlobs", bp.FindMissingBlobsRequest(names=[NAME, "../x"]), "names[1]"),
    ("blobs", "FindMissingBlobs", bp.FindMissingBlobsRequest(digests=[DIGEST] * 500, names=[NAME] * 501),
     "digests"),
    ("blobs", "UploadBlob", [bp.UploadBlobRequest()], "blob"),
    ("blobs", "UploadBlob",
     [bp.UploadBlobRequest(blob=common_pb2.BlobRef(name="b3-../../etc/passwd"))], "blob.name"),
    ("blobs", "UploadBlob", [bp.UploadBlobRequest(blob=common_pb2.BlobRef(digest=b"short"))], "blob.digest"),
    ("blobs", "UploadBlob",
     [bp.UploadBlobRequest(blob=common_pb2.BlobRef(digest=DIGEST, size=1), part=b"12")], "part"),
    ("blobs", "UploadBlob",
     [bp.UploadBlobRequest(blob=common_pb2.BlobRef(digest=DIGEST, size=9)), bp.UploadBlobRequest()], "part"),
    ("blobs", "UploadBlob",
     [bp.UploadBlobRequest(blob=common_pb2.BlobRef(digest=DIGEST, size=2**21), part=bytes(2**20 + 1))],
     "part"),
    ("blobs", "DownloadBlob", bp.DownloadBlobRequest(digest=b"short"), "digest"),
    ("blobs", "DownloadBlob", bp.DownloadBlobRequest(name=".store"), "name"),
]  # fmt: skip


def refusal(call: Any) -> TaskyardError:
    with pytest.raises(grpc.RpcError) as caught:
        list(answer) if isinstance(answer := call(), Iterator) else answer
    return from_rpc_error(caught.value)  # type: ignore[arg-type]  # a call that failed has all of it


@pytest.mark.parametrize(("service", "method", "request_of", "field"), REFUSED)
def test_a_unary_call_is_told_which_field_is_wrong(
    served: Any, service: str, method: str, request_of: Any, field: str
) -> None:
    request = iter(request_of) if isinstance(request_of, list) else request_of
    error = refusal(lambda: getattr(getattr(served, service), method)(request, timeout=20))
    assert isinstance(error, InvalidRequest | DigestMismatch)
    assert error.field == field
    assert not served.runs.ListRuns(pb.ListRunsRequest(), timeout=10).runs


def refusals_without_field(path: Path) -> Iterator[str]:
    for function in ast.walk(ast.parse(path.read_text())):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for call in ast.walk(function):
            if (
                isinstance(call, ast.Call)
                and isinstance(call.func, ast.Name)
                and call.func.id == "InvalidRequest"
                and not any(keyword.arg == "field" for keyword in call.keywords)
            ):
                yield f"{path.name}:{call.lineno} {function.name}"


def test_nothing_that_unary_calls_meet_refuses_without_a_field() -> None:
    root = Path(taskyard_controlplane.__file__).parent
    names = [
        "rpc/runs.py", "rpc/admin.py", "rpc/blobs.py", "owner/queueing/checks.py",
        "owner/journal/template_reading.py", "owner/rules/labels.py", "owner/peers/frame_limits.py",
    ]  # fmt: skip
    paths = [root / name for name in names] + sorted((root / "reading").glob("*.py"))
    found = [each for path in paths for each in refusals_without_field(path)]
    # What was recorded and is not taken any more: nobody who asks has sent it.
    assert [each.split()[1] for each in found] == ["read_stored"]


@pytest.mark.parametrize(
    ("extra", "field"),
    [
        (sp.RunExtra(start_at_us=1), "start_at_us"),
        (sp.RunExtra(expires_at_us=1), "expires_at_us"),
        (sp.RunExtra(idempotency_key="k"), "idempotency_key"),
        (sp.RunExtra(idempotency_window_ms=1), "idempotency_window_ms"),
    ],
)
def test_what_is_not_supported_yet_is_refused_on_streams_too(
    served: Any, extra: sp.RunExtra, field: str
) -> None:
    batch = sp.SubmitBatch(
        number=1,
        templates=[tp.TemplateDefinition(index=1, template=template())],
        groups=[sp.RunGroup(template=1, run_ids=[new_id()], extras=[extra])],
    )
    error = refusal(lambda: served.session(sp.ClientFrame(submit=batch)))
    assert isinstance(error, InvalidRequest)
    assert error.field == f"submit.groups.extras.{field}"
    assert "not supported" in str(error)


@pytest.mark.parametrize("strange", [b"r" * 16, IN_SHARD_1, bytes(16)])
def test_an_id_that_no_new_run_may_have_is_refused_on_streams_too(served: Any, strange: bytes) -> None:
    batch = sp.SubmitBatch(
        number=1,
        templates=[tp.TemplateDefinition(index=1, template=template())],
        groups=[sp.RunGroup(template=1, run_ids=[*new_ids(3), strange])],
    )
    error = refusal(lambda: served.session(sp.ClientFrame(submit=batch)))
    assert isinstance(error, InvalidRequest)
    assert error.field == "submit.groups.run_ids"
    assert f"{format_id(strange)}; the id of a new run is a UUID of version 7" in str(error)
    assert not served.runs.ListRuns(pb.ListRunsRequest(), timeout=10).runs


def test_single_runs_are_refused_with_the_code_of_a_call(served: Any) -> None:
    first = run(args=common_pb2.Payload(data=b"1"))
    again = run(run_id=first.run_id, args=common_pb2.Payload(data=b"2"))
    served.runs.SubmitRuns(pb.SubmitRunsRequest(runs=[first]), timeout=10)
    [refused] = served.runs.SubmitRuns(pb.SubmitRunsRequest(runs=[again]), timeout=10).refused
    assert refused.code == grpc.StatusCode.ALREADY_EXISTS.value[0]
    batch = sp.SubmitBatch(
        number=1,
        templates=[tp.TemplateDefinition(index=1, template=template())],
        groups=[sp.RunGroup(template=1, run_ids=[new_id()], args=[bytes(70_000)])],
    )
    frames = served.session(sp.ClientFrame(submit=batch))
    told = [refused for frame in (next(frames), next(frames)) for refused in frame.refused]
    assert [each.code for each in told] == [grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]]
    assert told[0].error.limit == 65_536
