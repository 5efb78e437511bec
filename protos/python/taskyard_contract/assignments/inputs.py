"""Results of upstream runs, as a run's arguments need them.

Invariant: two runs never share one value: what one of them changes, the other must not see.
"""

from typing import Any, Protocol

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import common_pb2, failure_pb2, session_service_pb2, states_pb2
from taskyard_contract.encodings import decode, is_expected
from taskyard_contract.ids import format_id
from taskyard_contract.languages.remote_errors import FailedRun, error_of


class BlobReader(Protocol):
    """Reads large payloads, wherever they are."""

    def read(self, ref: common_pb2.BlobRef) -> memoryview:
        """Return a blob's content, as memory of this process alone.

        Raises:
            BlobNotFound: It is nowhere.
            DigestMismatch: It is not what was stored.
        """
        ...

    def payload(self, payload: common_pb2.Payload) -> bytes | memoryview:
        """Return a payload's data."""
        ...


class UnexpectedEncoding(ValueError):
    """Something came in an encoding that the run does not read."""


def check_encoding(what: str, encoding: str, encoding_of_arguments: str) -> str:
    """Return an encoding, if a run with such arguments may read it.

    Raises:
        UnexpectedEncoding: It may not, or nobody here can.
    """
    if not is_expected(encoding, encoding_of_arguments):
        raise UnexpectedEncoding(
            f"{what} has the encoding '{encoding}', which a run with arguments in '{encoding_of_arguments}'"
            " does not read; have it made in 'json/plain', which all can read"
        )
    return encoding


class Inputs:
    """Results of upstream runs that came with a chunk, decoded when a run needs them."""

    def __init__(self, body: pb.ChunkBody, encoding: str, blobs: BlobReader) -> None:
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

    def _value(self, run_id: bytes, data: bytes | memoryview) -> Any:
        # Decoded for each run anew: two runs must not share one mutable value.
        outcome = self._others.get(run_id)
        if outcome is None:
            return decode(data, self._encoding)
        return self._outcome(run_id, outcome)

    def _outcome(self, run_id: bytes, outcome: session_service_pb2.RunOutcome) -> Any:
        if outcome.state != states_pb2.RUN_STATE_COMPLETED:
            return self._exception(outcome.failure, outcome.message)
        if not outcome.HasField("result"):
            return None
        result = outcome.result
        what = f"the result of upstream run {format_id(run_id)}"
        encoding = check_encoding(what, result.encoding or self._encoding, self._encoding)
        return decode(self._blobs.payload(result), encoding, result.type)

    def _exception(self, failure: failure_pb2.Failure, message: str) -> BaseException:
        error = self._decoded(failure) if failure.HasField("encoded") else None
        if isinstance(error, BaseException):
            return error
        if not failure.type:
            return FailedRun(message or "an upstream run did not complete")
        error = error_of(failure)
        if failure.HasField("cause"):
            error.__cause__ = self._exception(failure.cause, "")
        return error

    def _decoded(self, failure: failure_pb2.Failure) -> Any:
        encoded = failure.encoded
        if not is_expected(encoded.encoding, self._encoding):
            return None
        try:
            return decode(self._blobs.payload(encoded), encoded.encoding, encoded.type)
        except Exception:  # foreign code: its class may not be installed here; the words are enough
            return None
