"""Which large values a run reads: blobs among its arguments and inputs, whose names are known here."""

from collections.abc import Iterable
from itertools import islice
from typing import Final

from taskyard_api.v1 import common_pb2, session_service_pb2
from taskyard_controlplane.domain.model import Run
from taskyard_controlplane.owner.peers.kept_values import LEAST_BYTES, Value

MOST_LOOKED_AT: Final = 256
"""Inputs, and values in arguments, by which a run is judged: who has more has them from everywhere."""


def large_values(run: Run) -> list[Value]:
    """Return the large values that a run reads, each once."""
    found: dict[str, int] = {}
    for _, _, outcome in islice(run.inputs or (), MOST_LOOKED_AT):
        if isinstance(outcome, bytes):
            result = session_service_pb2.RunOutcome.FromString(outcome).result
            if result.HasField("blob"):
                _add(found, (result.blob,))
    if run.args_blob is not None:
        payload = common_pb2.Payload.FromString(run.args_blob)
        _add(found, islice(payload.values, MOST_LOOKED_AT))
        _add(found, (payload.blob,))
    return list(found.items())


def _add(found: dict[str, int], blobs: Iterable[common_pb2.BlobRef]) -> None:
    for blob in blobs:
        if blob.name and blob.size >= LEAST_BYTES:
            found[blob.name] = blob.size
