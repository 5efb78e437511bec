"""What runs print, from their worker to the session with the control plane."""

import asyncio
import time
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

from taskyard_agent.holding.holdings import Holdings
from taskyard_agent.processes.worker_handle import WorkerHandle
from taskyard_agent.runner.output.printed import STDERR, batch_of
from taskyard_agent.runner.progress_board import Piece
from taskyard_api.v1 import session_service_pb2 as pb

TELL_SECONDS: Final = 1.0
"""After lines were dropped, until it is said how many."""
PIECE_BYTES: Final = 64 * 1024
"""What is longer is passed on in several pieces: room for a line, and far less than servers take."""
BATCH_BYTES: Final = 512 * 1024
"""Of pieces that are passed on together."""


def pieces_of(batch: pb.OutputBatch) -> Iterator[Piece]:
    """Take a batch apart."""
    for columns in zip(batch.run_ids, batch.at_us, batch.streams, batch.data, strict=True):
        yield Piece(*columns)


def parts_of(piece: Piece) -> Iterator[Piece]:
    """Cut a piece that is long into several, between lines where it has any."""
    data = piece.data
    if len(data) <= PIECE_BYTES:
        yield piece
        return
    start = 0
    while start < len(data):
        end = start + PIECE_BYTES
        if end < len(data):
            end = data.rfind(b"\n", start, end) + 1 or end
        yield piece._replace(data=data[start:end])
        start = end


def batches_of(pieces: Iterable[Piece]) -> Iterator[pb.OutputBatch]:
    """Put pieces together, as much as is passed on at a time."""
    some: list[Piece] = []
    size = 0
    for piece in pieces:
        if some and size + len(piece.data) > BATCH_BYTES:
            yield batch_of(some)
            some, size = [], 0
        some.append(piece)
        size += len(piece.data)
    if some:
        yield batch_of(some)


class OutputRelay:
    """Passes on what workers print, as much as each is allowed."""

    def __init__(self, holdings: Holdings) -> None:
        """Pass on to the session of `holdings`."""
        self._holdings = holdings
        self._loop = asyncio.get_running_loop()

    def pass_on(self, worker: WorkerHandle, pieces: Iterable[Piece]) -> None:
        """Pass on what is allowed, and have it said how much is not."""
        allowance, now = worker.allowance, self._loop.time()
        passed: list[Piece] = []
        for piece in chain.from_iterable(map(parts_of, pieces)):
            quiet = not allowance.dropped_lines
            if allowance.take(piece.data, now):
                passed.append(piece)
            elif quiet:
                allowance.dropped_of = piece.run_id
                self._loop.call_later(TELL_SECONDS, self.tell_dropped, worker)
        for batch in batches_of(passed):
            self._holdings.session.print(batch)

    def tell_dropped(self, worker: WorkerHandle) -> None:
        """Say how many lines of a worker were not passed on: after a while, or before the run ends."""
        lines = worker.allowance.told()
        if lines:
            text = (
                f"... {lines:,} lines of output are not shown: they came faster than they can be passed on\n"
            )
            piece = Piece(worker.allowance.dropped_of, time.time_ns() // 1000, STDERR, text.encode())
            self._holdings.session.print(batch_of([piece]))
