"""What a worker reports of its runs."""

import errno
import hashlib
import os
import pickle
from pathlib import Path

import pytest

from taskyard_agent.runner.report_columns import NoRoom, Packer, raised, unavailable
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract.pickling import ENCODING
from taskyard_contract.states import StateReason


def packer(path: Path, inline: int = 10, most: int = 100) -> Packer:
    made = Packer(path)
    made.max_inline, made.max_payload, made.encoding = inline, most, ENCODING
    return made


def test_ordinary_results_are_columns(tmp_path: Path) -> None:
    ended = [(b"one", 5_000_000, 7_000_000), (b"two", 7_000_000, 7_500_000)]
    data, busy_us, blobs = packer(tmp_path).pack(ended, wall_ns=1_000_000_000)
    columns = pb.ReportColumns.FromString(data)
    assert columns.base_us == 1_005_000
    assert list(columns.started_us) == [0, 2000]
    assert list(columns.durations_us) == [2000, 500]
    assert list(columns.results) == [b"one", b"two"]
    assert (busy_us, blobs, len(columns.exceptions)) == (2500, [], 0)


def test_a_large_result_becomes_a_file_named_by_digest(tmp_path: Path) -> None:
    data, _, (blob,) = packer(tmp_path).pack([(b"ok", 0, 0), (b"x" * 50, 0, 0)], 0)
    (entry,) = pb.ReportColumns.FromString(data).exceptions
    assert (entry.position, entry.kind) == (1, pb.REPORT_KIND_SUCCEEDED)
    assert (entry.result.blob.size, entry.result.encoding) == (50, ENCODING)
    assert blob.digest == hashlib.sha256(b"x" * 50).digest()
    assert [path.name for path in tmp_path.iterdir()] == [blob.digest.hex()]


def test_a_result_over_the_limit_is_refused(tmp_path: Path) -> None:
    data, _, blobs = packer(tmp_path).pack([(b"x" * 101, 0, 0)], 0)
    (entry,) = pb.ReportColumns.FromString(data).exceptions
    assert (entry.kind, entry.reason) == (pb.REPORT_KIND_FAILED, StateReason.RESULT_REFUSED)
    assert "101 bytes" in entry.message
    assert not blobs
    assert not list(tmp_path.iterdir())


def test_a_large_exception_becomes_a_file_and_a_huge_one_only_text(tmp_path: Path) -> None:
    large, huge = raised(ValueError("v" * 40), ENCODING), raised(ValueError("v" * 200), ENCODING)
    data, _, blobs = packer(tmp_path).pack([(large, 0, 0), (huge, 0, 0)], 0)
    first, second = pb.ReportColumns.FromString(data).exceptions
    assert first.failure.encoded.blob == blobs[0]
    assert not second.failure.HasField("encoded")
    assert second.failure.message == "v" * 200


def test_a_result_that_cannot_be_written_is_refused_and_the_others_are_reported(tmp_path: Path) -> None:
    nowhere = tmp_path / "file"
    nowhere.touch()
    large = raised(ValueError("v" * 40), ENCODING)
    named = pb.ReportException(kind=pb.REPORT_KIND_SUCCEEDED, run_name="mine")
    named.result.data = b"x" * 50
    ended = [(b"ok", 0, 0), (b"x" * 50, 0, 0), (large, 0, 0), (named, 0, 0)]
    data, _, blobs = packer(nowhere).pack(ended, 0)
    columns = pb.ReportColumns.FromString(data)
    refused, failed, refused_too = columns.exceptions
    assert (list(columns.results), blobs) == ([b"ok", b"", b"", b""], [])
    assert (refused.position, refused.kind) == (1, pb.REPORT_KIND_FAILED)
    assert refused.reason == StateReason.RESULT_REFUSED
    assert "could not be written" in refused.message
    assert (failed.position, failed.message, failed.failure.HasField("encoded")) == (2, "v" * 40, False)
    assert (refused_too.position, refused_too.run_name) == (3, "mine")


def test_nothing_is_left_of_a_result_for_which_there_was_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        write(path, data[:20])
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(NoRoom) as raised_error:
        packer(tmp_path).pack([(b"ok", 0, 0), (b"x" * 50, 0, 0)], 0)
    lack = raised_error.value
    assert (lack.position, lack.size, lack.reason) == (1, 50, "no space left on device")
    assert list(tmp_path.iterdir()) == []


def test_a_result_that_cannot_be_written_for_another_reason_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path, data: bytes) -> int:
        raise OSError(errno.EACCES, "permission denied")

    monkeypatch.setattr(Path, "write_bytes", refused)
    data, _, _ = packer(tmp_path).pack([(b"x" * 50, 0, 0)], 0)
    (entry,) = pb.ReportColumns.FromString(data).exceptions
    assert (entry.kind, entry.reason) == (pb.REPORT_KIND_FAILED, StateReason.RESULT_REFUSED)
    assert "permission denied" in entry.message


def test_a_file_that_is_used_again_counts_as_used_now(tmp_path: Path) -> None:
    (blob,) = packer(tmp_path).pack([(b"x" * 50, 0, 0)], 0)[2]
    path = tmp_path / blob.digest.hex()
    os.utime(path, (1, 1))
    packer(tmp_path).pack([(b"x" * 50, 0, 0)], 0)
    assert path.stat().st_mtime > 1


def test_an_exception_is_told_in_full() -> None:
    try:
        try:
            raise KeyError("inner")
        except KeyError as inner:
            raise ValueError("outer") from inner
    except ValueError as error:
        report = raised(error, ENCODING)
    assert (report.kind, report.message) == (pb.REPORT_KIND_FAILED, "outer")
    assert (report.failure.type, report.failure.cause.type) == ("ValueError", "KeyError")
    assert "test_an_exception_is_told_in_full" in report.failure.traceback
    assert isinstance(pickle.loads(report.failure.encoded.data), ValueError)


def test_an_exit_call_is_an_interruption() -> None:
    report = raised(SystemExit(1), ENCODING)
    assert (report.kind, report.reason) == (pb.REPORT_KIND_INTERRUPTED, StateReason.INTERRUPTED)


def test_what_cannot_be_loaded_is_not_retried() -> None:
    report = unavailable("no such module", ImportError("nope"))
    assert report.reason == StateReason.CODE_UNAVAILABLE
    assert report.not_retriable
    assert report.failure.type == "ImportError"
