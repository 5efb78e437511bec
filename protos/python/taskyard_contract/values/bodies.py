"""Bodies of chunks that are files: read field by field, because they may be larger than any message.

The control plane writes what is small first, and then the inputs of the one run that there is, piece by
piece: of each piece the ids come first, then the values, then what describes those that are no plain values.
Whoever reads a field copies no other one.
"""

from collections.abc import Iterator
from typing import Final

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import common_pb2, session_service_pb2

INPUT_POSITIONS: Final = pb.ChunkBody.INPUT_POSITIONS_FIELD_NUMBER
INPUT_IDS: Final = pb.ChunkBody.INPUT_IDS_FIELD_NUMBER
INPUTS: Final = pb.ChunkBody.INPUTS_FIELD_NUMBER
OTHERS: Final = pb.ChunkBody.OTHERS_FIELD_NUMBER
_OF_INPUTS: Final = frozenset((INPUT_POSITIONS, INPUT_IDS, INPUTS, OTHERS))
_BYTES: Final = 2
"""How messages, bytes and packed numbers are written: each field of a body is one of these."""


class BadBody(ValueError):
    """A file is no body of a chunk."""


def fields_of(body: memoryview, start: int = 0) -> Iterator[tuple[int, int, int]]:
    """Iterate over the fields of a message from a byte on: number, first byte and end of the content.

    Raises:
        BadBody: It is not written as a body is.
    """
    end = len(body)
    try:
        while start < end:
            tag, start = _number(body, start)
            size, start = _number(body, start)
            if tag & 7 != _BYTES or start + size > end:
                raise BadBody(f"the inputs of a run are damaged: no field is at byte {start:,} of {end:,}")
            yield tag >> 3, start, start + size
            start += size
    except IndexError:
        raise BadBody(f"the inputs of a run are damaged: they end at byte {end:,} inside a field") from None


def _number(body: memoryview, at: int) -> tuple[int, int]:
    """Read a number; returns it, and where it ends."""
    number = body[at]
    at += 1
    if number >= 128:
        number &= 127
        shift = 7
        while True:
            byte = body[at]
            at += 1
            number |= (byte & 127) << shift
            if byte < 128:
                break
            shift += 7
    return number, at


def split_head(body: memoryview) -> tuple[pb.ChunkBody, int]:
    """Return a body without inputs, and where these begin.

    Raises:
        BadBody: It is not written as a body is.
        google.protobuf.message.DecodeError: What comes before the inputs is no body.
    """
    end = 0
    for number, _, stop in fields_of(body):
        if number in _OF_INPUTS:
            break
        end = stop
    return pb.ChunkBody.FromString(bytes(body[:end])), end


def blobs_in(body: memoryview) -> list[common_pb2.BlobRef]:
    """Return the results in a body that are blobs.

    Raises:
        BadBody: It is not written as a body is.
    """
    found = []
    for number, start, stop in fields_of(body):
        if number == OTHERS:
            outcome = session_service_pb2.RunOutcome.FromString(bytes(body[start:stop]))
            if outcome.result.HasField("blob"):
                found.append(outcome.result.blob)
    return found
