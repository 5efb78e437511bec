"""The inputs of a run that come as a file: decoded one after the other, each from where it is in the file."""

import mmap
from collections.abc import Iterator
from typing import Any, Final

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import session_service_pb2
from taskyard_contract.assignments.inputs import BlobReader, Inputs
from taskyard_contract.encodings import PICKLE
from taskyard_contract.values import bodies

LEFT_BYTES: Final = 16 * 1024 * 1024
"""Of what is decoded so many bytes stay in this process's memory, which the values themselves are in then."""

_Place = tuple[bytes, int, int]
"""The id of an upstream run, and where its value is."""


class ManyInputs(Inputs):
    """Results of upstream runs of the only run of a chunk."""

    def __init__(self, body: memoryview, start: int, encoding: str, blobs: BlobReader) -> None:
        """Read those of `body`, where they begin at a byte; `encoding` is that of the run's template."""
        super().__init__(pb.ChunkBody(), encoding, blobs)
        self._body: memoryview | None = body
        self._start = start

    def of(self, position: int) -> dict[bytes, Any] | None:
        """Return the inputs of the run by id; to be asked for once, because the file is let go.

        Raises:
            Exception: A value could not be decoded.
        """
        body, self._body = self._body, None
        if body is None or position:
            return None
        values: dict[bytes, Any] = {}
        left = self._start
        for piece in self._pieces(body):
            for run_id, start, stop in piece:
                data = body[start:stop]
                # Nothing else than pickles is read from any memory.
                values[run_id] = self._value(run_id, data if self._encoding == PICKLE else bytes(data))
            left = _leave(body, left, piece[-1][2])
        return values

    def _pieces(self, body: memoryview) -> Iterator[list[_Place]]:
        """Iterate over the pieces; `_others` has those of the current one."""
        ids: list[bytes] = []
        places: list[tuple[int, int]] = []
        self._others = {}
        for number, start, stop in bodies.fields_of(body, self._start):
            if number == bodies.INPUT_IDS:
                if places:
                    yield _joined(ids, places)
                    ids, places, self._others = [], [], {}
                ids.append(bytes(body[start:stop]))
            elif number == bodies.INPUTS:
                places.append((start, stop))
            elif number == bodies.OTHERS:
                outcome = session_service_pb2.RunOutcome.FromString(bytes(body[start:stop]))
                self._others[outcome.run_id] = outcome
        if places:
            yield _joined(ids, places)


def _joined(ids: list[bytes], places: list[tuple[int, int]]) -> list[_Place]:
    return [(run_id, *place) for run_id, place in zip(ids, places, strict=True)]


def _leave(body: memoryview, first: int, end: int) -> int:
    """Let the system take back much that was read of a mapped file; returns where the rest begins."""
    memory = body.obj
    if not isinstance(memory, mmap.mmap) or end - first < LEFT_BYTES:
        return first
    first -= first % mmap.PAGESIZE
    end -= end % mmap.PAGESIZE
    memory.madvise(mmap.MADV_DONTNEED, first, end - first)
    return end
