"""The worker's end of its link: sends what ended and what was logged, and takes unstarted runs back.

Two threads use it: the main one, which executes runs, and a mostly sleeping one that answers the agent while
user code is busy. A chunk begins with its first run, before its code is loaded. The others, which have not
started, are a deque of positions. The main thread takes from its front and the other one, when the agent asks
for the chunk back, from its end; both ends of a deque are atomic, so starting a run takes no lock, and a run
is either started or revoked. What has ended is a deque as well: the main thread appends, whoever flushes
takes.

User code may do what it likes to the process: fork it (the copy says nothing but that it waits), close the
sockets (the agent notices), or be interrupted by a signal in the midst of a frame (nothing is written after a
torn one). A report that was interrupted before it was sent counts as torn: it took results along, and those
of later runs would be taken for them.
Invariant: positions are executed, reported or revoked exactly once, in order.
"""

import os
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from taskyard_agent.runner import frames
from taskyard_agent.runner.output.printed import Output
from taskyard_agent.runner.progress_board import BoardWriter
from taskyard_agent.runner.report_columns import Ended, NoRoom, Packer
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import session_service_pb2
from taskyard_contract import log_entry
from taskyard_contract.ids import ID_BYTES
from taskyard_contract.log_entry import LogEntry

PROGRESS_NS: Final = 250_000_000
"""Between two words of progress; what is said meanwhile is kept, and of it only the newest is sent."""
MAX_UNSENT_LOGS: Final = 200
"""Log records that wait for results to travel with; the agent asks for fewer when they have waited long."""


class Link:
    """What a worker says to its agent, and what it is asked meanwhile."""

    def __init__(
        self, data: socket.socket, control: socket.socket, board: BoardWriter, packer: Packer
    ) -> None:
        """Speak over two sockets: frames on `data`, revocations on `control`."""
        self.ended: deque[Ended] = deque()
        self.wall_ns = 0
        self._data = data
        self._control = control
        self._board = board
        self._packer = packer
        self._sending = threading.RLock()
        self._taking = threading.Lock()
        self._number = 0
        self._reported = 0
        self._stop = 0
        self._positions: deque[int] = deque()
        self._revoked: set[int] = set()
        self._logs: deque[LogEntry] = deque()
        self._progress: pb.RunProgress | None = None
        self._progress_ns = 0
        self._waiting = 0
        self._pid = os.getpid()
        self.output = Output(board, self._executing, self.flush)
        self.print_from(self.output)
        self.ids = b""
        """Those of the runs of the chunk, for output that comes."""
        self.torn = False
        """Whether a frame was cut off, so that nothing can be said any more."""
        self.successor: Link | None = None
        """Who answers the agent from now on: the worker has become a lane."""

    @property
    def max_result_bytes(self) -> int:
        """The largest result that the server takes, for code that wants to know it before it reports one."""
        return self._packer.max_payload

    def print_from(self, output: Output) -> None:
        """Send what runs print into `output` from now on."""
        self.output = output
        output.whose, output.flush_all, output.on_unsent = self._executing, self.flush, self._note_unsent

    def begin(self, number: int, start: int, stop: int) -> deque[int] | None:
        """Begin a chunk with its first run, unless all of it was taken back.

        Returns:
            The positions behind the first one, from which others may take the tail away; None for nothing.
        """
        with self._taking:
            self._number, self._stop = number, stop
            if number in self._revoked:
                self._revoked.discard(number)
                self._positions = deque()
                return None
            self._positions = positions = deque(range(start + 1, stop))
            self._reported = start
        return positions

    def flush(self) -> None:
        """Send what has ended and what was logged."""
        if self._is_copy():
            return
        with self._sending:
            self._send_logs()
            self._send_output()
            ended = self.ended
            if self._progress is not None:
                self._send_progress(at_once=bool(ended))  # before the end of the run that said it
            if self.torn or not ended:
                return
            self.torn = True
            taken = [ended.popleft() for _ in range(len(ended))]
            try:
                report = self._report(taken)
            except NoRoom as lack:
                report = self._report_apart(taken, lack)
            self._write_whole(report)

    def _report(self, taken: list[Ended]) -> bytes:
        """Return the frame that reports some runs."""
        columns, busy_us, blobs = self._packer.pack(taken, self.wall_ns)
        head = frames.REPORT_HEAD.pack(self._number, self._reported, len(taken), busy_us, len(blobs))
        self._reported += len(taken)
        entries = [frames.BLOB_ENTRY.pack(blob.name.encode(), blob.size, blob.checksum) for blob in blobs]
        return frames.pack(frames.REPORT, head, *entries, columns)

    def _report_apart(self, taken: list[Ended], lack: NoRoom | None) -> bytes:
        """Return the frames that report some runs, and name those whose results the disk does not take."""
        told = []
        while taken:
            sound = taken[: lack.position] if lack is not None else taken
            try:
                if sound:
                    told.append(self._report(sound))
            except NoRoom as another:  # the disk has filled up further
                lack = another
                continue
            taken = taken[len(sound) :]
            if lack is not None:
                head = frames.UNSTORED_HEAD.pack(self._number, self._reported, lack.size)
                told.append(frames.pack(frames.UNSTORED, head, lack.reason.encode()))
                self._reported += 1
                taken, lack = taken[1:], None
        return b"".join(told)

    def send(self, kind: int, body: bytes = b"") -> None:
        """Send a frame, after those whose sending has begun."""
        if self._is_copy():
            return
        with self._sending:
            self._write(frames.pack(kind, body))

    def serve_control(self) -> None:
        """Answer the agent on the control socket until it closes. Runs in a thread of its own."""
        # A task may close descriptors that are not its own; the agent notices that and ends the worker.
        with suppress(OSError):
            while message := self._control.recv(frames.CONTROL_BYTES):
                (self.successor or self).on_control(message)

    def on_control(self, message: bytes) -> None:
        """Act on what the agent asks, in the thread that listens."""
        (number,) = frames.REVOKE.unpack(message)
        if number:
            self._control.sendall(frames.REVOKED.pack(number, self._revoke(number)))
        else:
            self.flush()

    def _revoke(self, number: int) -> int:
        """Take back what has not started of a chunk; returns the position from which on nothing starts."""
        with self._taking:
            if number > self._number:
                self._revoked.add(number)
                return 0
            if number < self._number:
                return frames.NOTHING_REVOKED
            positions, first = self._positions, self._stop
            while True:
                try:
                    # The main thread takes from the other end; each end of a deque is atomic.
                    first = positions.pop()
                except IndexError:
                    self._stop = first
                    return first

    def log(self, entry: LogEntry) -> None:
        """Send a log record to the control plane, with the results of about the same time."""
        if self._is_copy():
            return
        self._logs.append(entry)
        if len(self._logs) >= MAX_UNSENT_LOGS:
            self.flush()
        else:
            self._note_unsent()

    def _note_unsent(self) -> None:
        """Have the agent ask for what waits, when it has waited long."""
        self._board.logs(len(self._logs) + self.output.unsent + (self._progress is not None))

    def _executing(self) -> bytes:
        """Return the id of the run that executes; where none does, of the last one of the chunk."""
        position = self._board.position()
        if position is None:
            return self.ids[-ID_BYTES:]
        return self.ids[position * ID_BYTES : position * ID_BYTES + ID_BYTES]

    def heartbeat(self, progress: pb.RunProgress) -> None:
        """Say that the run goes on, and how far it is. The board has it at once, the agent a few a second."""
        if self._is_copy():
            return
        self._board.heartbeat(time.monotonic_ns())
        with self._sending:
            self._progress = progress
            self._send_progress()

    def _send_progress(self, at_once: bool = False) -> None:
        now = time.monotonic_ns()
        if not at_once and now - self._progress_ns < PROGRESS_NS:
            self._note_unsent()
            return
        progress, self._progress = self._progress, None
        self._progress_ns = now
        self._note_unsent()
        if progress is not None:
            self._write(frames.pack(frames.PROGRESS, progress.SerializeToString()))

    def _write(self, data: bytes) -> None:
        """Write a frame, unless an earlier one was cut off when the agent ended this process."""
        if not self.torn:
            self.torn = True
            self._write_whole(data)

    def _write_whole(self, data: bytes) -> None:
        self._data.sendall(data)
        self.torn = False

    def _is_copy(self) -> bool:
        """Say whether a task has forked this process: what there is to tell is the worker's to tell."""
        return self._pid != os.getpid()

    def _send_logs(self) -> None:
        entries = [self._logs.popleft() for _ in range(len(self._logs))]
        if not entries:
            return
        self._note_unsent()
        batch = session_service_pb2.LogBatch()
        for entry in entries:
            log_entry.add_to(batch, entry)
        self._write(frames.pack(frames.LOGS, batch.SerializeToString()))

    def _send_output(self) -> None:
        batch = self.output.take()
        if batch is not None:
            self._write(frames.pack(frames.OUTPUT, batch.SerializeToString()))
            self.output.sent()
            self._note_unsent()

    @contextmanager
    def blocked(self) -> Iterator[None]:
        """Say that the run waits for other runs meanwhile, so that its slot can serve them.

        Raises:
            ConnectionAbortedError: It cannot be said any more, and the run might wait for its own slot.
        """
        if self._is_copy():
            # The slot is the run's, whichever process waits; so short a frame is never torn by the other's.
            self._write(frames.pack(frames.BLOCKED))
            try:
                yield
            finally:
                self._board.heartbeat(time.monotonic_ns())  # as below: the board is shared with copies too
                self._write(frames.pack(frames.UNBLOCKED))
            return
        with self._sending:
            if self.torn:
                raise ConnectionAbortedError(
                    "the run cannot wait for others: a signal has cut off what its worker said to the agent"
                )
            if not self._waiting:
                # Among what has ended may be what the run is going to wait for.
                self.flush()
                self.send(frames.BLOCKED)
            self._waiting += 1
        try:
            yield
        finally:
            with self._sending:
                self._waiting -= 1
                if self._waiting == 0:
                    self._board.heartbeat(time.monotonic_ns())  # to wait for others was no silence
                    self.send(frames.UNBLOCKED)
