"""Runs and blobs are checked once, in the same words at both doors, and nothing long on the event loop."""

import asyncio
import threading
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest

from taskyard_api.v1 import common_pb2, run_service_pb2, states_pb2, template_pb2
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.errors import DigestMismatch, InvalidRequest, PayloadTooLarge, TaskyardError
from taskyard_contract.id_factory import new_id
from taskyard_contract.states import UpstreamKind
from taskyard_controlplane.owner.queueing import checks
from taskyard_controlplane.owner.queueing.checks import HASHED_HERE_BYTES, check_blobs, check_new_runs


def blob(data: bytes, digest: bytes = b"") -> common_pb2.InlineBlob:
    return common_pb2.InlineBlob(digest=digest or sha256(data).digest(), data=data)


def new_run(**changes: Any) -> run_service_pb2.NewRun:
    template = template_pb2.RunTemplate(
        kind=states_pb2.RUN_KIND_TASK, name="add", queue="default", code=template_pb2.Code(task_name="add")
    )
    return run_service_pb2.NewRun(**{"run_id": new_id(), "template": template, **changes})


@pytest.fixture
def hashing(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """The threads that content was hashed on, blob by blob."""
    threads: list[threading.Thread] = []

    def noted(data: bytes) -> Any:
        threads.append(threading.current_thread())
        return sha256(data)

    monkeypatch.setattr(checks, "sha256", noted)
    return threads


@pytest.mark.parametrize(
    ("sizes", "on_the_loop"),
    [
        ([5], True),
        ([HASHED_HERE_BYTES], True),
        ([HASHED_HERE_BYTES + 1], False),
        ([HASHED_HERE_BYTES, 1], False),
    ],
)
def test_content_is_hashed_once_and_much_of_it_beside_the_loop(
    hashing: list[threading.Thread], sizes: list[int], on_the_loop: bool
) -> None:
    asyncio.run(check_blobs([blob(bytes(size)) for size in sizes], 1 << 30))
    assert len(hashing) == len(sizes)
    assert all((thread is threading.main_thread()) is on_the_loop for thread in hashing)


@pytest.mark.parametrize("size", [5, HASHED_HERE_BYTES + 1])
def test_content_under_another_digest_is_refused(size: int) -> None:
    with pytest.raises(DigestMismatch, match=r"blobs\[1\]"):
        asyncio.run(check_blobs([blob(b"right"), blob(bytes(size), b"d" * 32)], 1 << 30))


def test_what_is_too_large_or_no_digest_is_not_even_hashed(hashing: list[threading.Thread]) -> None:
    with pytest.raises(PayloadTooLarge):
        asyncio.run(check_blobs([blob(b"right"), blob(b"12345")], 4))
    with pytest.raises(InvalidRequest, match="SHA-256"):
        asyncio.run(check_blobs([blob(b"right"), blob(b"12345", b"short")], 9))
    assert hashing == []


def large(size: int, digest: bytes = b"d" * 32) -> common_pb2.Payload:
    return common_pb2.Payload(blob=common_pb2.BlobRef(digest=digest, size=size))


MALFORMED: list[tuple[Callable[[], run_service_pb2.NewRun], type[TaskyardError], str]] = [
    (lambda: new_run(run_id=b"short"), InvalidRequest, "run_id"),
    (
        lambda: new_run(template=template_pb2.RunTemplate(kind=states_pb2.RUN_KIND_FLOW)),
        InvalidRequest,
        "session",
    ),
    (
        lambda: new_run(template=template_pb2.RunTemplate(kind=states_pb2.RUN_KIND_TASK)),
        InvalidRequest,
        "name",
    ),
    (lambda: new_run(args=common_pb2.Payload(data=bytes(11))), PayloadTooLarge, "11 bytes"),
    (lambda: new_run(args=large(21)), PayloadTooLarge, r"args\.blob has 21 bytes"),
    (lambda: new_run(args=large(20, b"short")), InvalidRequest, r"args\.blob\.digest has 5 bytes"),
    (lambda: new_run(upstream=[run_service_pb2.Upstream(run_id=new_id())]), InvalidRequest, "upstream"),
    (lambda: new_run(upstream=[run_service_pb2.Upstream(run_id=new_id(), kind=99)]), InvalidRequest, "kind"),
]


@pytest.mark.parametrize(("make", "error", "text"), MALFORMED)
def test_a_malformed_run_is_refused_with_its_position(
    make: Callable[[], run_service_pb2.NewRun], error: type[TaskyardError], text: str
) -> None:
    with pytest.raises(error, match=text) as caught:
        check_new_runs([new_run(), make()], 10, 20)
    assert "runs[1]" in str(caught.value)


def test_a_request_names_a_run_once() -> None:
    run = new_run()
    with pytest.raises(InvalidRequest, match="twice"):
        check_new_runs([run, new_run(), run], 10, 20)


def test_a_proper_run_passes() -> None:
    edge = run_service_pb2.Upstream(run_id=new_id(), kind=int(UpstreamKind.ORDER))  # type: ignore[arg-type]
    check_new_runs([new_run(upstream=[edge], args=common_pb2.Payload(data=bytes(10)))], 10, 20)
    check_new_runs([new_run(args=large(20))], 10, 20)


CONTENT = "b3-" + "a" * 64


@pytest.mark.parametrize(
    ("ref", "wrong"),
    [
        (common_pb2.BlobRef(name=CONTENT, size=1), ""),
        (common_pb2.BlobRef(digest=b"d" * 32, size=1), ""),
        (common_pb2.BlobRef(digest=b"short", size=1), "a SHA-256 has 32"),
        (common_pb2.BlobRef(name="b3-../../../etc/passwd", size=1), "no name of a blob"),
        (common_pb2.BlobRef(name="run-" + "a" * 32 + "-" + "b" * 16, size=1), "only the report of that run"),
    ],
)
def test_arguments_name_blobs_by_their_content(ref: common_pb2.BlobRef, wrong: str) -> None:
    run = new_run(args=common_pb2.Payload(values=[ref]))
    if not wrong:
        checks.check_new_runs([run], 1_000, 1_000)
        return
    with pytest.raises(InvalidRequest, match=wrong):
        checks.check_new_runs([run], 1_000, 1_000)


def test_a_value_of_arguments_is_no_larger_than_any_may_be() -> None:
    extra = pb.RunExtra(payload=common_pb2.Payload(values=[common_pb2.BlobRef(name=CONTENT, size=1_001)]))
    assert checks.large_blob(extra, 1_001, new_id()) is None
    assert checks.large_blob(extra, 1_000, new_id()) is not None
