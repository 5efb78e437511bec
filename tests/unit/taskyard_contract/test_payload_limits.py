"""Every program starts from the same limits, and each limit is the last size that passes."""

from pathlib import Path

import pytest

from taskyard._network.session.in_flight import InFlight
from taskyard_agent.runner.blob_files import BlobFiles
from taskyard_agent.runner.report_columns import Packer
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import session_service_pb2
from taskyard_contract.blobs.directory import BlobDirectory
from taskyard_contract.errors import PayloadTooLarge
from taskyard_contract.payload_limits import MAX_INLINE_BYTES, MAX_PAYLOAD_BYTES, PART_BYTES
from taskyard_controlplane.owner.queueing.checks import check_size
from taskyard_controlplane.settings import RpcSettings
from taskyard_controlplane.storage.blobs import PART_SIZE

LIMITS = (MAX_INLINE_BYTES, MAX_PAYLOAD_BYTES)


def test_all_programs_start_from_the_same_limits(tmp_path: Path) -> None:
    settings, packer = RpcSettings(), Packer(tmp_path)
    session = InFlight(str, lambda: None, lambda delay, call: None)
    assert (settings.max_inline_bytes, settings.max_payload_bytes) == LIMITS
    assert (packer.max_inline, packer.max_payload) == LIMITS
    assert (session.max_inline_bytes, session.max_payload_bytes) == LIMITS


def test_a_server_without_limits_leaves_them_as_they_are() -> None:
    session = InFlight(str, lambda: None, lambda delay, call: None)
    session.on_welcome(session_service_pb2.SessionWelcome())
    assert (session.max_inline_bytes, session.max_payload_bytes) == LIMITS
    session.on_welcome(session_service_pb2.SessionWelcome(max_inline_bytes=7, max_payload_bytes=8))
    assert (session.max_inline_bytes, session.max_payload_bytes) == (7, 8)


def test_what_storage_reads_at_once_fits_into_a_message() -> None:
    assert PART_SIZE <= PART_BYTES


def test_the_server_takes_a_blob_of_the_largest_size() -> None:
    limit = RpcSettings().max_payload_bytes
    check_size(limit, limit, "blob.size")
    with pytest.raises(PayloadTooLarge, match="keep the data elsewhere") as caught:
        check_size(limit + 1, limit, "blob.size")
    assert caught.value.limit == limit


@pytest.mark.parametrize(
    ("size", "blobs", "refused"), [(10, 0, False), (11, 1, False), (20, 1, False), (21, 0, True)]
)
def test_a_worker_reports_a_result_of_the_largest_size(
    tmp_path: Path, size: int, blobs: int, refused: bool
) -> None:
    files = BlobFiles(tmp_path)
    BlobDirectory(tmp_path).make()
    packer = Packer(files)
    packer.max_inline, packer.max_payload = 10, 20
    data, _, stored = packer.pack([(packer.place(b"x" * size, bytes(16), 1), 0, 0)], 0)
    columns = pb.ReportColumns.FromString(data)
    assert len(stored) == blobs
    assert [entry.kind == pb.REPORT_KIND_FAILED for entry in columns.exceptions] == (
        [refused] if size > 10 else []
    )
