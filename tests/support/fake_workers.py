"""Workers without processes: the test holds their ends of the sockets and says when they end."""

import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from taskyard_agent.processes.lines import WorkerLines
from taskyard_agent.runner import frames, progress_board
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import common_pb2
from taskyard_contract.blobs.names import name_of

MARK = b"\xff\0of these tests"


class FarEnd:
    """What a worker process holds."""

    def __init__(self, lines: WorkerLines) -> None:
        self.data, self.control = lines.far_data, lines.far_control
        self.data.setblocking(False)
        self.control.setblocking(False)
        self._reader = frames.FrameReader()
        self._board = progress_board.BoardWriter(lines.far_board)
        self._board_descriptor = lines.far_board
        self.output, self.errors = lines.far_output, lines.far_errors

    def heartbeat(self, ago: float) -> None:
        """Note on the board that what is executing said something so many seconds ago."""
        self._board.heartbeat(time.monotonic_ns() - round(ago * 1e9))

    def say(self, progress: pb.RunProgress) -> None:
        self.data.sendall(frames.pack(frames.PROGRESS, progress.SerializeToString()))

    def execute(self, number: int, position: int) -> None:
        """Note on the board what is executing."""
        progress_board.note_run(self._board.map, 0, number, position, time.monotonic_ns())

    def ready(self, pid: int = 0) -> None:
        self.data.sendall(frames.pack(frames.READY, frames.READY_BODY.pack(pid, frames.LINK_VERSION, MARK)))

    def blocked(self, blocked: bool = True) -> None:
        self.data.sendall(frames.pack(frames.BLOCKED if blocked else frames.UNBLOCKED))

    def report(self, number: int, start: int, runs: int, seconds: float = 0.0) -> None:
        head = frames.REPORT_HEAD.pack(number, start, runs, round(seconds * 1e6), 0)
        self.data.sendall(frames.pack(frames.REPORT, head, pb.ReportColumns().SerializeToString()))

    def revoked(self, number: int, first: int) -> None:
        self.control.send(frames.REVOKED.pack(number, first))

    def received(self) -> list[tuple[int, bytes]]:
        """Everything that was sent on the data socket since."""
        try:
            return self._reader.feed(self.data.recv(1 << 20))
        except BlockingIOError:
            return []

    def asked_back(self) -> list[int]:
        """The chunks that were asked back since."""
        asked = []
        while True:
            try:
                asked += frames.REVOKE.unpack(self.control.recv(frames.REVOKE.size))
            except BlockingIOError:
                return asked

    def asked(self) -> list[bytes]:
        """Everything that was asked on the control socket since."""
        asked = []
        while True:
            try:
                asked.append(self.control.recv(frames.CONTROL_BYTES))
            except BlockingIOError:
                return asked

    def close(self) -> None:
        self.data.close()
        self.control.close()
        self._board.map.close()
        for descriptor in filter(None, (self._board_descriptor, self.output, self.errors)):
            os.close(descriptor)
        self._board_descriptor = self.output = self.errors = 0


class FakeZygote:
    """Stands for a `ZygoteClient`."""

    def __init__(self) -> None:
        self.far: dict[int, FarEnd] = {}
        self.refusals = 0
        self.prepared_before = 0
        """Number of the worker that was asked for last when it was told to prepare; 0 before."""
        self.closed = False
        self.exited: Callable[[int, int], None]
        self.gone: Callable[[], None]

    def listen(self, loop: Any, on_spawned: Any, on_exited: Any, on_gone: Any) -> None:
        self.exited, self.gone = on_exited, on_gone

    def spawn(self, number: int, lines: WorkerLines) -> bool:
        far = FarEnd(lines)
        if self.refusals:
            self.refusals -= 1
            far.close()
            return False
        self.far[number] = far
        return True

    def prepare(self) -> None:
        self.prepared_before = self.prepared_before or max(self.far)

    def close(self, loop: Any, timeout: float = 0.0) -> None:
        self.closed = True
        for far in self.far.values():
            far.close()


class ToldSession:
    """Stands for a `LinkSession`; keeps what it is told."""

    def __init__(self) -> None:
        self.reported: list[bytes] = []
        self.given_back: list[bytes] = []
        self.lost_runs: list[bytes] = []
        self.reasons: list[int] = []
        """Why each of these was lost."""
        self.condition = ""
        self.ended_runs: list[bytes] = []
        self.progress_told: list[pb.RunProgress] = []
        self.draining = False
        self.wakes = 0

    def report(self, first_epoch: int, run_ids: bytes, columns: bytes) -> None:
        self.reported.append(run_ids)

    def give_back(self, keys: Iterable[pb.RunKey]) -> None:
        self.given_back += [key.run_id for key in keys]

    def lost(self, key: pb.RunKey, reason: int, message: str) -> None:
        self.lost_runs.append(key.run_id)
        self.reasons.append(reason)

    def cancelled(self, key: pb.RunKey) -> None:
        self.ended_runs.append(key.run_id)

    def started(self, key: pb.RunKey, running: float) -> None:
        """Nothing depends on it."""

    def progress(self, progress: pb.RunProgress) -> None:
        self.progress_told.append(progress)

    def drain(self) -> None:
        self.draining = True

    def wake(self) -> None:
        self.wakes += 1


class FakeBlobs:
    """Stands for a `BlobStore` whose transfers end when the test says so."""

    def __init__(self) -> None:
        self.here: set[str] = set()
        """Names of the blobs that are here."""
        self.gone: set[str] = set()
        """Names of those that were not to be had when they were last asked for."""
        self.arrived = asyncio.Event()
        self.error: Exception | None = None
        self.transfers = 0
        self.directory = Path(tempfile.gettempdir())
        self.in_use: Callable[[], Iterable[str]] = tuple
        self.capacity = 1000
        self.seen = ""
        """The path of the control plane's own directory, where it is seen from here."""

    def look_for(self, store: common_pb2.BlobDirectory) -> str:
        return self.seen

    def path(self, blob: common_pb2.BlobRef) -> Path:
        return Path("/nowhere") / name_of(blob)

    def has(self, blobs: Iterable[common_pb2.BlobRef]) -> bool:
        return (self.here | self.gone).issuperset(map(name_of, blobs))

    def ask_again(self, blobs: Iterable[common_pb2.BlobRef]) -> None:
        self.gone.difference_update(map(name_of, blobs))

    async def fetch(self, blobs: Iterable[common_pb2.BlobRef]) -> None:
        await self._travel()
        self.here.update(map(name_of, blobs))

    async def upload(self, blob: common_pb2.BlobRef) -> None:
        await self._travel()

    def evict(self) -> None:
        """Nothing is here."""

    async def _travel(self) -> None:
        await self.arrived.wait()
        self.transfers += 1
        if self.error is not None:
            raise self.error
