"""Results of upstream runs, as a run's arguments need them.

Invariant: two runs never share one value: what one of them changes, the other must not see.
"""

from typing import Any

from taskyard_agent.runner.blob_files import BlobFiles
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import failure_pb2, session_service_pb2, states_pb2
from taskyard_contract.encodings import decode


class UpstreamFailed(Exception):
    """An upstream run failed and its exception could not be carried over; the text says what it was."""


class Inputs:
    """Results of upstream runs that came with a chunk, decoded when a run needs them."""

    def __init__(self, body: pb.ChunkBody, encoding: str, blobs: BlobFiles) -> None:
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
            return decode(data, self._encoding)
        return self._outcome(outcome)

    def _outcome(self, outcome: session_service_pb2.RunOutcome) -> Any:
        if outcome.state != states_pb2.RUN_STATE_COMPLETED:
            return self._exception(outcome.failure, outcome.message)
        if not outcome.HasField("result"):
            return None
        encoding = outcome.result.encoding or self._encoding
        return decode(self._blobs.payload(outcome.result), encoding)

    def _exception(self, failure: failure_pb2.Failure, message: str) -> BaseException:
        error = self._decoded(failure) if failure.HasField("encoded") else None
        if isinstance(error, BaseException):
            return error
        text = f"{failure.type}: {failure.message}" if failure.type else message
        return UpstreamFailed(text or "an upstream run did not complete")

    def _decoded(self, failure: failure_pb2.Failure) -> Any:
        try:
            return decode(self._blobs.payload(failure.encoded), failure.encoded.encoding)
        except Exception:  # foreign code: its class may not be installed here; the words are enough
            return None
