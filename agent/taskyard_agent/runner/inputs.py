"""Templates, code and inputs inside a worker.

Invariant: code is loaded once per worker and digest; what cannot be loaded is an outcome of the run, never
an exception of the worker.
"""

import json
from pathlib import Path
from typing import Any

from taskyard_agent.runner.reference_code import JSON, ReferenceCode
from taskyard_agent.runner.report_columns import failure_of, unavailable
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import common_pb2, failure_pb2, session_service_pb2, states_pb2, template_pb2
from taskyard_contract import pickling
from taskyard_contract.execution import Invocation, TaskCode, WorkerHost


class UnavailableCode:
    """Stands for code that could not be loaded: every run of it fails and says why."""

    def __init__(self, message: str, error: BaseException) -> None:
        """Remember the reason."""
        self._message = message
        self._failure = failure_of(error, "")

    def execute(self, invocation: Invocation, host: WorkerHost) -> pb.ReportException:
        """Report the reason."""
        report = unavailable(self._message)
        report.failure.CopyFrom(self._failure)
        return report


class Blobs:
    """The directory into which the agent fetches blobs."""

    def __init__(self, directory: Path) -> None:
        """Read from `directory`."""
        self._directory = directory

    def read(self, digest: bytes) -> bytes:
        """Return a blob's content.

        Raises:
            OSError: The agent did not fetch it.
        """
        return (self._directory / digest.hex()).read_bytes()

    def payload(self, payload: common_pb2.Payload) -> bytes:
        """Return a payload's data, wherever it is."""
        return self.read(payload.blob.digest) if payload.HasField("blob") else payload.data


class CodeShelf:
    """The code this worker has loaded."""

    def __init__(self, blobs: Blobs) -> None:
        """Load from `blobs` what does not come with its template."""
        self._blobs = blobs
        self._by_key: dict[bytes | tuple[str, str], TaskCode] = {}

    def clear(self) -> None:
        """Forget all code; what is needed again is loaded again."""
        self._by_key.clear()

    def find(self, definition: template_pb2.TemplateDefinition) -> TaskCode:
        """Return the code of a template."""
        template = definition.template
        location = template.code.WhichOneof("location")
        key = template.code.blob_digest or (template.code.reference, template.encoding)
        code = self._by_key.get(key)
        if code is not None:
            return code
        try:
            if location == "blob_digest":
                code = self._unpickle(definition)
            elif location == "reference":
                code = ReferenceCode(template.code.reference, template.encoding)
            else:
                raise LookupError("its template names no code that a Python worker could load")
        except Exception as error:
            # Not kept: an import may succeed later, when whatever it lacked is there.
            return UnavailableCode(f"the code of task '{template.name}' could not be loaded: {error}", error)
        self._by_key[key] = code
        return code

    def _unpickle(self, definition: template_pb2.TemplateDefinition) -> TaskCode:
        data = definition.code or self._blobs.read(definition.template.code.blob_digest)
        code: TaskCode = pickling.loads(data)
        return code


class UpstreamFailed(Exception):
    """An upstream run failed and its exception could not be carried over; the text says what it was."""


def decode(encoding: str, data: bytes) -> Any:
    """Decode a payload.

    Raises:
        ValueError: The encoding is unknown to this worker.
    """
    if encoding == pickling.ENCODING:
        return pickling.loads(data)
    if encoding == JSON:
        return json.loads(data)
    if encoding == "binary/plain":
        return data
    raise ValueError(f"encoding '{encoding}' is unknown to this worker")


class Inputs:
    """Results of upstream runs that came with a chunk, decoded when a run needs them."""

    def __init__(self, body: pb.ChunkBody, encoding: str, blobs: Blobs) -> None:
        """Index the inputs of a chunk; `encoding` is its template's."""
        self._encoding = encoding
        self._blobs = blobs
        self._others = {outcome.run_id: outcome for outcome in body.others}
        self._of: dict[int, list[tuple[bytes, bytes]]] = {}
        for position, run_id, data in zip(body.input_positions, body.input_ids, body.inputs, strict=True):
            self._of.setdefault(position, []).append((run_id, data))

    def of(self, position: int) -> dict[bytes, Any] | None:
        """Return the inputs of a run by id; None when it has none.

        Raises:
            Exception: A value could not be decoded.
        """
        entries = self._of.get(position)
        if entries is None:
            return None
        return {run_id: self._value(run_id, data) for run_id, data in entries}

    def _value(self, run_id: bytes, data: bytes) -> Any:
        # Decoded for each run anew: two runs must not share one mutable value.
        outcome = self._others.get(run_id)
        if outcome is None:
            return decode(self._encoding, data)
        return self._outcome(outcome)

    def _outcome(self, outcome: session_service_pb2.RunOutcome) -> Any:
        if outcome.state != states_pb2.RUN_STATE_COMPLETED:
            return self._exception(outcome.failure, outcome.message)
        if not outcome.HasField("result"):
            return None
        encoding = outcome.result.encoding or self._encoding
        return decode(encoding, self._blobs.payload(outcome.result))

    def _exception(self, failure: failure_pb2.Failure, message: str) -> BaseException:
        if failure.HasField("encoded"):
            error = decode(failure.encoded.encoding, self._blobs.payload(failure.encoded))
            if isinstance(error, BaseException):
                return error
        text = f"{failure.type}: {failure.message}" if failure.type else message
        return UpstreamFailed(text or "an upstream run did not complete")
