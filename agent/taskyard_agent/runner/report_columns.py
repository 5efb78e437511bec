"""Outcomes of runs as a worker reports them: columns for the ordinary ones, exceptions for the rest.

Invariant: whatever a run returned or raised, its report is a message the server takes; what is too large
becomes a blob, and what is larger still becomes a failure that says so. Only what this machine's disk has no
room for has no report: the run is not to blame, and another machine may have room.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from taskyard_agent.runner.blob_files import BlobFiles, is_disk_trouble
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import common_pb2, failure_pb2
from taskyard_contract.assignments.refusals import reported
from taskyard_contract.blobs.names import checksum_of, content_name, result_name
from taskyard_contract.encodings import BUFFERS, refusal_of
from taskyard_contract.errors import PayloadTooLarge
from taskyard_contract.failures import failure_of, text_of, type_name
from taskyard_contract.payload_limits import MAX_INLINE_BYTES, MAX_PAYLOAD_BYTES, too_large_result
from taskyard_contract.states import StateReason
from taskyard_contract.values.layout import LaidOut

Outcome = bytes | pb.ReportException | LaidOut
"""What came of a run: its ordinary result, written or laid out to be; or whatever else there is to say."""


class Lacking(NamedTuple):
    """Stands for a result that the disk has no room for."""

    size: int
    reason: str


Placed = bytes | pb.ReportException | Lacking
"""The same after everything large of it was stored."""
Ended = tuple[Placed, int, int]
"""What came of a run, when it started and when it ended, monotonic nanoseconds."""


class NoRoom(Exception):
    """The disk has no room for the result of a run, or failed."""

    def __init__(self, position: int, lacking: Lacking) -> None:
        """Say which run it is among those that were to be packed, how large, and what the disk said."""
        super().__init__(lacking.reason)
        self.position = position
        self.size, self.reason = lacking


class Packer:
    """Writes columns, and what is too large for them into files."""

    def __init__(self, files: BlobFiles) -> None:
        """Write large payloads into `files`."""
        self._files = files
        self._unsent: dict[str, list[common_pb2.BlobRef]] = {}
        """What only the agent's directory has, once for each report that names it: each waits for it."""
        self.encoding = ""
        """Of ordinary results."""
        self.arguments = ""
        """Of arguments: only where these are pickles, exceptions come along as such."""
        self.max_inline = MAX_INLINE_BYTES
        self.max_payload = MAX_PAYLOAD_BYTES

    def place(self, outcome: Outcome, run_id: bytes, epoch: int) -> Placed:
        """Store what is too large for a report, before anything can change it.

        Args:
            outcome: What came of a run.
            run_id: The run.
            epoch: The epoch it was executed under.
        """
        if isinstance(outcome, bytes) and len(outcome) <= self.max_inline:
            return outcome
        report = outcome
        if not isinstance(report, pb.ReportException):
            report = pb.ReportException(kind=pb.REPORT_KIND_SUCCEEDED)
        name, data = report.run_name, large_of(outcome)
        size = _size_of(data)
        if size > self.max_payload:
            report = refused_result(size, self.max_payload, self.arguments)
        elif size > self.max_inline:
            try:
                self._place_result(report, data, result_name(run_id, epoch))
            except OSError as error:
                if is_disk_trouble(error):
                    return Lacking(size, error.strerror or type(error).__name__)
                report = unstored_result(size, error)
        elif isinstance(data, LaidOut):  # some servers take in a report what is large elsewhere
            report.result.encoding, report.result.data = BUFFERS, data.joined()
        self._place_failure(report.failure)
        report.run_name = name
        return report

    def pack(self, ended: Sequence[Ended], wall_ns: int) -> tuple[bytes, int, list[common_pb2.BlobRef]]:
        """Return serialised ReportColumns, busy microseconds and the blobs that are still to be sent.

        Args:
            ended: The runs in order.
            wall_ns: What to add to monotonic nanoseconds to get wall time.

        Raises:
            NoRoom: What the first of them returned that cannot be stored; those before it can be packed.
        """
        base = ended[0][1]
        results: list[bytes] = []
        exceptions: list[pb.ReportException] = []
        for position, (outcome, _start, _end) in enumerate(ended):
            if type(outcome) is bytes:
                results.append(outcome)
                continue
            if isinstance(outcome, Lacking):
                raise NoRoom(position, outcome)
            results.append(b"")
            assert isinstance(outcome, pb.ReportException)
            outcome.position = position
            exceptions.append(outcome)
        durations = [(end - start) // 1000 for _, start, end in ended]
        columns = pb.ReportColumns(
            base_us=(base + wall_ns) // 1000,
            started_us=[(start - base) // 1000 for _, start, _ in ended],
            durations_us=durations,
            results=results,
            exceptions=exceptions,
        )
        return columns.SerializeToString(), sum(durations), self._to_send(exceptions)

    def _to_send(self, exceptions: list[pb.ReportException]) -> list[common_pb2.BlobRef]:
        """Return those blobs of some reports that are in the agent's directory only."""
        if not self._unsent:
            return []
        found: dict[str, common_pb2.BlobRef] = {}
        for name in [blob.name for report in exceptions for blob in _blobs_of(report)]:
            if name in self._unsent:
                found[name] = self._unsent[name].pop()
                if not self._unsent[name]:
                    del self._unsent[name]
        return list(found.values())

    def _place_result(self, report: pb.ReportException, data: bytes | LaidOut, name: str) -> None:
        pieces = data.pieces if isinstance(data, LaidOut) else [data]
        payload = report.result
        payload.encoding = payload.encoding or (BUFFERS if isinstance(data, LaidOut) else self.encoding)
        payload.blob.CopyFrom(self._write(name, pieces, _size_of(data)))

    def _place_failure(self, failure: failure_pb2.Failure) -> None:
        size = len(failure.encoded.data) if failure.HasField("encoded") else 0
        if size > self.max_payload:
            # The text and the traceback tell what happened; the object is a convenience.
            failure.ClearField("encoded")
        elif size > self.max_inline:
            data = failure.encoded.data
            try:
                failure.encoded.blob.CopyFrom(self._write(content_name([data]), [data], size))
            except OSError:
                failure.ClearField("encoded")
        if failure.HasField("cause"):
            self._place_failure(failure.cause)

    def _write(self, name: str, pieces: Sequence[bytes | memoryview], size: int) -> common_pb2.BlobRef:
        ref = common_pb2.BlobRef(name=name, size=size, checksum=checksum_of(pieces))
        if self._files.write(name, pieces, size):
            self._unsent.setdefault(name, []).append(ref)
        return ref


def large_of(outcome: Outcome) -> bytes | LaidOut:
    """Return what may be large of an outcome: its result."""
    return outcome.result.data if isinstance(outcome, pb.ReportException) else outcome


def _size_of(data: bytes | LaidOut) -> int:
    return data.size if isinstance(data, LaidOut) else len(data)


def _blobs_of(report: pb.ReportException) -> Iterator[common_pb2.BlobRef]:
    if report.result.HasField("blob"):
        yield report.result.blob
    failure = report.failure
    while True:
        if failure.encoded.HasField("blob"):
            yield failure.encoded.blob
        if not failure.HasField("cause"):
            return
        failure = failure.cause


def refused_result(size: int, limit: int, encoding: str) -> pb.ReportException:
    """Report a result that no server takes."""
    message = too_large_result(size, limit)
    report = reported(StateReason.RESULT_REFUSED, message, "PayloadTooLarge")
    report.failure.CopyFrom(failure_of(PayloadTooLarge(message, limit=limit), encoding=encoding))
    return report


def unstored_result(size: int, error: OSError) -> pb.ReportException:
    """Report a result that could not be written, though the disk is sound."""
    message = (
        f"the result of {size:,} bytes could not be written for the agent: {error}; "
        "have it looked after on its machine, or write it to storage of your own and return a reference to it"
    )
    return reported(StateReason.RESULT_REFUSED, message, type(error).__qualname__)


def refused_value(value: object, encoding: str, error: Exception) -> pb.ReportException:
    """Report a result that its encoding has no form for; no other attempt would do better."""
    report = reported(StateReason.RESULT_REFUSED, refusal_of(value, encoding, error), type_name(error))
    report.not_retriable = True
    return report


def raised(error: BaseException, encoding: str) -> pb.ReportException:
    """Report what user code raised: a failure, or for exit calls and signals an interruption."""
    report = pb.ReportException(message=text_of(error), failure=failure_of(error, encoding=encoding))
    if isinstance(error, Exception):
        report.kind = pb.REPORT_KIND_FAILED
    else:
        report.kind = pb.REPORT_KIND_INTERRUPTED
        report.reason = StateReason.INTERRUPTED.value  # type: ignore[assignment]  # numerically equal
    return report
