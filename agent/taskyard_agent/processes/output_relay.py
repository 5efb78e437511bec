"""What runs print, from their worker to the session with the control plane."""

import asyncio
import time
from collections.abc import Iterable, Iterator
from typing import Final

from taskyard_agent.holding.holdings import Holdings
from taskyard_agent.processes.worker_handle import WorkerHandle
from taskyard_agent.runner.output.printed import STDERR, batch_of
from taskyard_agent.runner.progress_board import Piece
from taskyard_api.v1 import session_service_pb2 as pb

TELL_SECONDS: Final = 1.0
"""After lines were dropped, until it is said how many."""


def pieces_of(batch: pb.OutputBatch) -> Iterator[Piece]:
    """Take a batch apart."""
    for columns in zip(batch.run_ids, batch.at_us, batch.streams, batch.data, strict=True):
        yield Piece(*columns)


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
        for piece in pieces:
            quiet = not allowance.dropped_lines
            if allowance.take(piece.data, now):
                passed.append(piece)
            elif quiet:
                allowance.dropped_of = piece.run_id
                self._loop.call_later(TELL_SECONDS, self.tell_dropped, worker)
        if passed:
            self._holdings.session.print(batch_of(passed))

    def tell_dropped(self, worker: WorkerHandle) -> None:
        """Say how many lines of a worker were not passed on: after a while, or before the run ends."""
        lines = worker.allowance.told()
        if lines:
            text = (
                f"... {lines:,} lines of output are not shown: they came faster than they can be passed on\n"
            )
            piece = Piece(worker.allowance.dropped_of, time.time_ns() // 1000, STDERR, text.encode())
            self._holdings.session.print(batch_of([piece]))
