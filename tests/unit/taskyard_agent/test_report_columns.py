"""What a worker reports of its runs."""

import errno
import os
import pickle
from pathlib import Path

import pytest

from taskyard_agent.runner import blob_files
from taskyard_agent.runner.blob_files import BlobFiles
from taskyard_agent.runner.report_columns import Lacking, NoRoom, Outcome, Packer, Placed, raised
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import common_pb2
from taskyard_contract.assignments.refusals import unavailable
from taskyard_contract.blobs.directory import BlobDirectory
from taskyard_contract.blobs.names import checksum_of, content_name, result_name
from taskyard_contract.encodings import BUFFERS, decode
from taskyard_contract.pickling import ENCODING, dumps_apart
from taskyard_contract.states import StateReason
from taskyard_contract.values.layout import LaidOut

RUN = b"r" * 16
NAME = result_name(RUN, 7)
LARGE = b"x" * 50
Packed = tuple[pb.ReportColumns, list[common_pb2.BlobRef]]


def made(path: Path) -> BlobDirectory:
    directory = BlobDirectory(path)
    directory.make()
    return directory


def packer(path: Path, inline: int = 10, most: int = 100, store: BlobDirectory | None = None) -> Packer:
    files = BlobFiles(made(path).root)
    files.store = store
    packer = Packer(files)
    packer.max_inline, packer.max_payload, packer.encoding = inline, most, ENCODING
    return packer


def files_in(path: Path) -> list[str]:
    return sorted(file.name for file in path.rglob("*") if file.is_file())


def packed(packer: Packer, *placed: Placed) -> Packed:
    data, _, blobs = packer.pack([(one, 0, 0) for one in placed], 0)
    return pb.ReportColumns.FromString(data), blobs


def placed(packer: Packer, outcome: Outcome) -> pb.ReportException:
    report = packer.place(outcome, RUN, 7)
    assert isinstance(report, pb.ReportException)
    return report


def fail_to_write(patched: pytest.MonkeyPatch, number: int, reason: str) -> None:
    """Have nothing written, but for a beginning of it."""

    def fail(descriptor: int, pieces: list[memoryview]) -> int:
        os.write(descriptor, pieces[0][:20])
        raise OSError(number, reason)

    patched.setattr(os, "writev", fail)


def test_ordinary_results_are_columns(tmp_path: Path) -> None:
    ended: list[tuple[Placed, int, int]] = [(b"one", 5_000_000, 7_000_000), (b"two", 7_000_000, 7_500_000)]
    data, busy_us, blobs = packer(tmp_path).pack(ended, wall_ns=1_000_000_000)
    columns = pb.ReportColumns.FromString(data)
    assert columns.base_us == 1_005_000
    assert list(columns.started_us) == [0, 2000]
    assert list(columns.durations_us) == [2000, 500]
    assert list(columns.results) == [b"one", b"two"]
    assert (busy_us, blobs, len(columns.exceptions)) == (2500, [], 0)


def test_what_is_small_stays_as_it_is(tmp_path: Path) -> None:
    small = b"x" * 10
    assert packer(tmp_path).place(small, RUN, 7) is small
    named = pb.ReportException(kind=pb.REPORT_KIND_SUCCEEDED, run_name="mine")
    named.result.data = small
    assert packer(tmp_path).place(named, RUN, 7) == named
    assert files_in(tmp_path) == []


def test_a_large_result_becomes_a_file_named_by_its_run_and_epoch(tmp_path: Path) -> None:
    to = packer(tmp_path)
    columns, (blob,) = packed(to, b"ok", to.place(LARGE, RUN, 7))
    (entry,) = columns.exceptions
    assert (entry.position, entry.kind) == (1, pb.REPORT_KIND_SUCCEEDED)
    assert list(columns.results) == [b"ok", b""]
    assert entry.result == common_pb2.Payload(encoding=ENCODING, blob=blob)
    assert blob == common_pb2.BlobRef(name=NAME, size=50, checksum=checksum_of([LARGE]))
    assert BlobDirectory(tmp_path).path(NAME).read_bytes() == LARGE
    assert files_in(tmp_path) == [NAME]


def test_what_was_laid_out_becomes_a_file_that_is_mapped_as_it_is(tmp_path: Path) -> None:
    outcome = dumps_apart([pickle.PickleBuffer(b"v" * 100_000), "beside it"])
    assert isinstance(outcome, LaidOut)
    to = packer(tmp_path, most=1_000_000)
    columns, (blob,) = packed(to, to.place(outcome, RUN, 7))
    (entry,) = columns.exceptions
    assert (entry.result.encoding, entry.result.blob, blob.size) == (BUFFERS, blob, outcome.size)
    data = BlobDirectory(tmp_path).path(NAME).read_bytes()
    assert (data, blob.checksum) == (outcome.joined(), checksum_of([data]))
    assert decode(data, BUFFERS) == [b"v" * 100_000, "beside it"]


def test_what_was_laid_out_stays_where_the_server_takes_as_much_in_a_report(tmp_path: Path) -> None:
    value = bytes(100_000)
    to = packer(tmp_path, inline=1_000_000, most=1_000_000)
    columns, blobs = packed(to, to.place(dumps_apart(value), RUN, 7))
    (entry,) = columns.exceptions
    assert decode(entry.result.data, entry.result.encoding) == value
    assert (blobs, files_in(tmp_path)) == ([], [])


def test_a_named_result_keeps_its_name_its_encoding_and_its_type(tmp_path: Path) -> None:
    named = pb.ReportException(kind=pb.REPORT_KIND_SUCCEEDED, run_name="mine")
    named.result.CopyFrom(common_pb2.Payload(encoding="binary/protobuf", type="their.Type", data=LARGE))
    report = placed(packer(tmp_path), named)
    assert (report.run_name, report.result.encoding, report.result.type) == (
        "mine", "binary/protobuf", "their.Type"
    )  # fmt: skip
    assert report.result.blob.name == NAME


@pytest.mark.parametrize("outcome", [b"x" * 101, LaidOut([b"x" * 30], [])], ids=["bytes", "laid out"])
def test_a_result_over_the_limit_is_refused(tmp_path: Path, outcome: bytes | LaidOut) -> None:
    most = 100 if isinstance(outcome, bytes) else outcome.size - 1
    to = packer(tmp_path, most=most)
    columns, blobs = packed(to, to.place(outcome, RUN, 7))
    (entry,) = columns.exceptions
    assert (entry.kind, entry.reason) == (pb.REPORT_KIND_FAILED, StateReason.RESULT_REFUSED)
    assert f"{most + 1} bytes" in entry.message
    assert (blobs, files_in(tmp_path), entry.HasField("result")) == ([], [], False)


def test_a_large_exception_becomes_a_file_and_a_huge_one_only_text(tmp_path: Path) -> None:
    to = packer(tmp_path)
    large, huge = (placed(to, raised(ValueError("v" * size), ENCODING)) for size in (40, 200))
    columns, (blob,) = packed(to, large, huge)
    first, second = columns.exceptions
    assert first.failure.encoded == common_pb2.Payload(encoding=ENCODING, blob=blob)
    data = BlobDirectory(tmp_path).path(blob.name).read_bytes()
    assert (blob.name, blob.size, blob.checksum) == (content_name([data]), len(data), checksum_of([data]))
    assert str(pickle.loads(data)) == "v" * 40
    assert not second.failure.HasField("encoded")
    assert second.failure.message == "v" * 200


def test_what_is_behind_a_large_exception_becomes_a_file_as_well(tmp_path: Path) -> None:
    error = ValueError("v" * 40)
    error.__cause__ = KeyError("k" * 40)
    to = packer(tmp_path, most=1000)
    columns, blobs = packed(to, placed(to, raised(error, ENCODING)))
    failure = columns.exceptions[0].failure
    assert [failure.encoded.blob, failure.cause.encoded.blob] == blobs
    assert files_in(tmp_path) == sorted(blob.name for blob in blobs)


def test_the_same_exception_is_written_once_and_waited_for_by_each_report(tmp_path: Path) -> None:
    to = packer(tmp_path)
    outcomes = [raised(ValueError("v" * 40), "") for _ in range(3)]
    for outcome in outcomes:
        outcome.failure.encoded.data = LARGE
    first, second, third = (placed(to, outcome) for outcome in outcomes)
    path = BlobDirectory(tmp_path).path(content_name([LARGE]))
    written = path.stat().st_ino
    columns, blobs = packed(to, first, second)
    assert [entry.failure.encoded.blob for entry in columns.exceptions] == [blobs[0]] * 2
    assert packed(to, third)[1] == blobs, "it may not have got there with the first report"
    placed(to, outcomes[0])
    assert (len(blobs), path.stat().st_ino) == (1, written), "somebody may be reading it"


def test_only_what_is_in_the_agents_own_directory_is_to_be_sent(tmp_path: Path) -> None:
    store = made(tmp_path / "store")
    to = packer(tmp_path / "own", most=1000, store=store)
    columns, blobs = packed(to, to.place(LARGE, RUN, 7), placed(to, raised(ValueError("v" * 40), ENCODING)))
    value, failure = columns.exceptions
    assert (blobs, files_in(tmp_path / "own")) == ([], [])
    names = [value.result.blob.name, failure.failure.encoded.blob.name]
    assert (names[0], files_in(tmp_path / "store")) == (NAME, sorted(names))
    own = packer(tmp_path / "own")
    elsewhere = pb.ReportException(kind=pb.REPORT_KIND_SUCCEEDED)
    elsewhere.result.blob.CopyFrom(value.result.blob)
    _, sent = packed(own, placed(own, elsewhere), own.place(LARGE, RUN, 8))
    assert [blob.name for blob in sent] == [result_name(RUN, 8)], "the other one was stored by the run itself"


def test_a_result_that_cannot_be_written_is_refused_and_the_others_are_reported(tmp_path: Path) -> None:
    to = packer(tmp_path)
    to._files = BlobFiles(tmp_path / "nowhere")
    named = pb.ReportException(kind=pb.REPORT_KIND_SUCCEEDED, run_name="mine")
    named.result.data = LARGE
    outcomes: list[Outcome] = [b"ok", LARGE, raised(ValueError("v" * 40), ENCODING), named]
    columns, blobs = packed(to, *[to.place(outcome, RUN, at) for at, outcome in enumerate(outcomes)])
    refused, failed, refused_too = columns.exceptions
    assert (list(columns.results), blobs) == ([b"ok", b"", b"", b""], [])
    assert (refused.position, refused.kind) == (1, pb.REPORT_KIND_FAILED)
    assert refused.reason == StateReason.RESULT_REFUSED
    assert "could not be written" in refused.message
    assert (failed.position, failed.message, failed.failure.HasField("encoded")) == (2, "v" * 40, False)
    assert (refused_too.position, refused_too.run_name) == (3, "mine")


@pytest.mark.parametrize("number", sorted(blob_files._DISK))
@pytest.mark.parametrize("seen", [False, True], ids=["own directory", "store"])
def test_nothing_is_left_of_a_result_for_which_there_was_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, seen: bool
) -> None:
    to = packer(tmp_path / "own", store=made(tmp_path / "store") if seen else None)
    with monkeypatch.context() as patched:
        fail_to_write(patched, number, "no room there")
        lacking = to.place(LARGE, RUN, 7)
        failed = placed(to, raised(ValueError("v" * 40), ENCODING))
    assert lacking == Lacking(50, "no room there")
    assert not failed.failure.HasField("encoded"), "the words are enough, and are not lost"
    with pytest.raises(NoRoom) as raised_error:
        packed(to, b"ok", lacking)
    lack = raised_error.value
    assert (lack.position, lack.size, lack.reason) == (1, 50, "no room there")
    assert files_in(tmp_path) == []


def test_a_result_that_cannot_be_written_for_another_reason_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = packer(tmp_path)
    with monkeypatch.context() as patched:
        fail_to_write(patched, errno.EACCES, "permission denied")
        entry = placed(to, LARGE)
    assert (entry.kind, entry.reason) == (pb.REPORT_KIND_FAILED, StateReason.RESULT_REFUSED)
    assert "permission denied" in entry.message
    assert files_in(tmp_path) == []


def test_a_file_that_is_used_again_counts_as_used_now(tmp_path: Path) -> None:
    to = packer(tmp_path)
    name = placed(to, raised(ValueError("v" * 40), ENCODING)).failure.encoded.blob.name
    path = BlobDirectory(tmp_path).path(name)
    again = raised(ValueError("v" * 40), ENCODING)
    again.failure.encoded.data = path.read_bytes()
    os.utime(path, (1, 1))
    placed(to, again)
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
