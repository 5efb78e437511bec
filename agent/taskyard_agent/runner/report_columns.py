"""Outcomes of runs as a worker reports them: columns for the ordinary ones, exceptions for the rest.

Invariant: whatever a run returned or raised, its report is a message the server takes; what is too large
becomes a blob, and what is larger still becomes a failure that says so. Only what this machine's disk has no
room for has no report: the run is not to blame, and another machine may have room.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from taskyard_agent.runner.blob_files import is_disk_trouble
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import common_pb2, failure_pb2
from taskyard_contract.encodings import refusal_of
from taskyard_contract.errors import PayloadTooLarge
from taskyard_contract.failures import SOURCE, failure_of, text_of, type_name
from taskyard_contract.payload_limits import MAX_INLINE_BYTES, MAX_PAYLOAD_BYTES, too_large_result
from taskyard_contract.programs.private_files import create
from taskyard_contract.states import StateReason
from taskyard_contract.wire_text import cut

Outcome = bytes | pb.ReportException
Ended = tuple[Outcome, int, int]
"""What came of a run, when it started and when it ended, monotonic nanoseconds."""


class NoRoom(Exception):
    """The disk has no room for the result of a run, or failed."""

    def __init__(self, position: int, size: int, error: OSError) -> None:
        """Say which run it is among those that were to be packed, how large, and what the disk said."""
        super().__init__(str(error))
        self.position = position
        self.size = size
        self.reason = error.strerror or type(error).__name__


class Packer:
    """Writes columns, and what is too large for them into files."""

    def __init__(self, directory: Path) -> None:
        """Write large payloads into `directory`."""
        self._directory = directory
        self.encoding = ""
        """Of ordinary results."""
        self.arguments = ""
        """Of arguments: only where these are pickles, exceptions come along as such."""
        self.max_inline = MAX_INLINE_BYTES
        self.max_payload = MAX_PAYLOAD_BYTES

    def pack(self, ended: Sequence[Ended], wall_ns: int) -> tuple[bytes, int, list[common_pb2.BlobRef]]:
        """Return serialised ReportColumns, busy microseconds and the blobs they refer to.

        Args:
            ended: The runs in order.
            wall_ns: What to add to monotonic nanoseconds to get wall time.

        Raises:
            NoRoom: What the first of them returned that cannot be stored; those before it can be packed.
        """
        base, limit = ended[0][1], self.max_inline
        results: list[bytes] = []
        exceptions: list[pb.ReportException] = []
        blobs: list[common_pb2.BlobRef] = []
        for position, (outcome, _start, _end) in enumerate(ended):
            if type(outcome) is bytes and len(outcome) <= limit:
                results.append(outcome)
                continue
            results.append(b"")
            exceptions.append(self._exception(outcome, position, blobs))
        durations = [(end - start) // 1000 for _, start, end in ended]
        columns = pb.ReportColumns(
            base_us=(base + wall_ns) // 1000,
            started_us=[(start - base) // 1000 for _, start, _ in ended],
            durations_us=durations,
            results=results,
            exceptions=exceptions,
        )
        return columns.SerializeToString(), sum(durations), blobs

    def _exception(
        self, outcome: Outcome, position: int, blobs: list[common_pb2.BlobRef]
    ) -> pb.ReportException:
        if isinstance(outcome, bytes):
            result = common_pb2.Payload(data=outcome, encoding=self.encoding)
            outcome = pb.ReportException(kind=pb.REPORT_KIND_SUCCEEDED, result=result)
        size, name = len(outcome.result.data), outcome.run_name
        if size > self.max_payload:
            outcome = refused_result(size, self.max_payload, self.arguments)
        try:
            self._offload(outcome.result, blobs)
        except OSError as error:
            if is_disk_trouble(error):
                raise NoRoom(position, size, error) from error
            outcome = unstored_result(size, error)
        self._offload_failure(outcome.failure, blobs)
        outcome.position, outcome.run_name = position, name
        return outcome

    def _offload_failure(self, failure: failure_pb2.Failure, blobs: list[common_pb2.BlobRef]) -> None:
        if len(failure.encoded.data) > self.max_payload:
            # The text and the traceback tell what happened; the object is a convenience.
            failure.ClearField("encoded")
        elif failure.HasField("encoded"):
            try:
                self._offload(failure.encoded, blobs)
            except OSError:
                failure.ClearField("encoded")
        if failure.HasField("cause"):
            self._offload_failure(failure.cause, blobs)

    def _offload(self, payload: common_pb2.Payload, blobs: list[common_pb2.BlobRef]) -> None:
        if payload.HasField("blob"):
            blobs.append(payload.blob)  # packed before, with one for which there was no room
            return
        if len(payload.data) <= self.max_inline:
            return
        blob = self._write(payload.data)
        payload.blob.CopyFrom(blob)
        blobs.append(blob)

    def _write(self, data: bytes) -> common_pb2.BlobRef:
        digest = hashlib.sha256(data).digest()
        path = self._directory / digest.hex()
        try:
            os.utime(path)  # used again: it must not be removed to make room before it is uploaded
        except FileNotFoundError:
            partial = path.with_name(f"{path.name}.{os.getpid()}.part")
            try:
                create(partial).close()
                partial.write_bytes(data)
            except OSError:
                partial.unlink(missing_ok=True)  # what there was no room for must not take up the rest of it
                raise
            partial.rename(path)
        return common_pb2.BlobRef(digest=digest, size=len(data))


def refused_result(size: int, limit: int, encoding: str) -> pb.ReportException:
    """Report a result that no server takes."""
    message = too_large_result(size, limit)
    report = _failed(StateReason.RESULT_REFUSED, message, "PayloadTooLarge")
    report.failure.CopyFrom(failure_of(PayloadTooLarge(message, limit=limit), encoding=encoding))
    return report


def unstored_result(size: int, error: OSError) -> pb.ReportException:
    """Report a result that could not be written, though the disk is sound."""
    message = (
        f"the result of {size:,} bytes could not be written for the agent: {error}; "
        "have it looked after on its machine, or write it to storage of your own and return a reference to it"
    )
    return _failed(StateReason.RESULT_REFUSED, message, type(error).__qualname__)


def refused_value(value: object, encoding: str, error: Exception) -> pb.ReportException:
    """Report a result that its encoding has no form for; no other attempt would do better."""
    report = _failed(StateReason.RESULT_REFUSED, refusal_of(value, encoding, error), type_name(error))
    report.not_retriable = True
    return report


def unavailable(message: str, error: BaseException | None = None) -> pb.ReportException:
    """Report code or arguments that could not be loaded."""
    report = _failed(StateReason.CODE_UNAVAILABLE, message, "RuntimeError")
    report.not_retriable = True
    if error is not None:
        report.failure.CopyFrom(failure_of(error, encoding=""))
    return report


def _failed(reason: StateReason, message: str, kind: str) -> pb.ReportException:
    message = cut(message)
    return pb.ReportException(
        kind=pb.REPORT_KIND_FAILED,
        reason=reason.value,  # type: ignore[arg-type]  # the enums are numerically equal
        message=message,
        failure=failure_pb2.Failure(type=kind, message=message, source=SOURCE),
    )


def raised(error: BaseException, encoding: str) -> pb.ReportException:
    """Report what user code raised: a failure, or for exit calls and signals an interruption."""
    report = pb.ReportException(message=text_of(error), failure=failure_of(error, encoding=encoding))
    if isinstance(error, Exception):
        report.kind = pb.REPORT_KIND_FAILED
    else:
        report.kind = pb.REPORT_KIND_INTERRUPTED
        report.reason = StateReason.INTERRUPTED.value  # type: ignore[assignment]  # numerically equal
    return report
