"""Large values of runs that come from elsewhere: read and written in this program's session.

The session is opened when the first of them is met; all methods block.
"""

from typing import Any

from taskyard._engine.execution import reports
from taskyard._engine.execution.task_attempt import Report
from taskyard._network.session.blobs import pieces_of
from taskyard._network.session.sessions import current_session
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import common_pb2, failure_pb2
from taskyard_contract.encodings import BUFFERS, decode
from taskyard_contract.errors import TaskyardError
from taskyard_contract.execution import Invocation
from taskyard_contract.references import read_stored_with
from taskyard_contract.values.layout import LaidOut


class NotStored(Exception):
    """A result could not be stored, which its run is not to blame for."""


class SessionValues:
    """Reads what runs need, and stores what they return. Implements `BlobReader`."""

    def __init__(self) -> None:
        """Know the limits of a server that has not said any."""
        self.max_inline = 0
        self.max_payload = 0

    def serve(self) -> None:
        """Have arguments read large values from here."""
        read_stored_with(self._stored)

    def read(self, ref: common_pb2.BlobRef) -> memoryview:
        """Return a blob's content; see `BlobReader`."""
        return memoryview(current_session().blobs.read(ref))

    def payload(self, payload: common_pb2.Payload) -> bytes | memoryview:
        """Return a payload's data, wherever it is."""
        return self.read(payload.blob) if payload.HasField("blob") else payload.data

    def _stored(self, name: str, size: int, checksum: int, encoding: str) -> Any:
        return decode(self.read(common_pb2.BlobRef(name=name, size=size, checksum=checksum)), encoding)

    def is_small(self, outcome: Report) -> bool:
        """Say whether nothing of an outcome has to be stored."""
        if isinstance(outcome, pb.ReportException):
            return outcome.ByteSize() <= self.max_inline
        return isinstance(outcome, bytes) and len(outcome) <= self.max_inline

    def placed(self, outcome: Report, run: Invocation) -> bytes | pb.ReportException:
        """Return an outcome as it is reported, after what is large of it was stored.

        Raises:
            NotStored: It could not be.
        """
        if isinstance(outcome, bytes) and len(outcome) <= self.max_inline:
            return outcome
        if isinstance(outcome, pb.ReportException):
            return self._placed_report(outcome, run)
        wire = reports.wire_of(run.template)
        report = pb.ReportException(kind=pb.REPORT_KIND_SUCCEEDED)
        report.result.encoding = BUFFERS if isinstance(outcome, LaidOut) else wire.results
        return self._with_result(report, outcome, run)

    def _placed_report(self, report: pb.ReportException, run: Invocation) -> pb.ReportException:
        self._place_failure(report.failure)
        if len(report.result.data) > self.max_inline:
            return self._with_result(report, report.result.data, run)
        return report

    def _with_result(
        self, report: pb.ReportException, data: bytes | LaidOut, run: Invocation
    ) -> pb.ReportException:
        _, size = pieces_of(data)
        if size > self.max_payload:
            return reports.too_large(size, self.max_payload, report.run_name, reports.wire_of(run.template))
        if size <= self.max_inline:
            report.result.data = data.joined() if isinstance(data, LaidOut) else data
            return report
        try:
            report.result.blob.CopyFrom(current_session().blobs.put_result(data, run.run_id, run.epoch))
        except (TaskyardError, TimeoutError, OSError) as error:
            raise NotStored(f"its result of {size:,} bytes could not be stored: {error}") from error
        return report

    def _place_failure(self, failure: failure_pb2.Failure) -> None:
        """Leave out exceptions that are too large: the text and the traceback tell what happened."""
        if len(failure.encoded.data) > self.max_inline:
            failure.ClearField("encoded")
        if failure.HasField("cause"):
            self._place_failure(failure.cause)
