"""Workers without processes: they read real frames on sockets of memory and execute scripts in virtual time.

What a run does is in its arguments: how long it takes, how many of its attempts fail. Everything else is as
in `taskyard_agent.runner`: chunks in order, what ended is sent after a while or with the end of a chunk,
the tail of a chunk can be taken back, the board tells what is executing.
"""

import asyncio
import json
import signal
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from simulation.loop import Node, SimulatedLoop
from taskyard_agent.runner import frames
from taskyard_agent.runner.progress_board import Progress
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import failure_pb2, template_pb2

FLUSH_SECONDS: Final = 0.005
FIRST_PID: Final = 1 << 30
"""Beyond all real ones: a signal that escapes hits nobody."""
RUN_ID_BYTES: Final = 16


class Socket:
    """The agent's end of a socket to a worker."""

    def __init__(self, loop: SimulatedLoop, node: Node, far: Callable[[bytes], None]) -> None:
        self._loop, self._node = loop, node
        self._far = far
        self._received: deque[bytes] = deque()
        self._reader: Callable[[], None] | None = None
        self._told = False
        self._open = True
        self._ended = False
        self._last = 0.0

    def setblocking(self, flag: bool) -> None:
        """It never blocks."""

    def fileno(self) -> int:
        return 0 if self._open else -1

    def set_reader(self, reader: Callable[[], None] | None) -> None:
        self._reader = reader
        self._tell()

    def send(self, data: bytes) -> int:
        if not self._open or self._ended:
            raise BrokenPipeError
        self._loop.later(0.00005, self._far, bytes(data))
        return len(data)

    def recv(self, size: int) -> bytes:
        if self._received:
            return self._received.popleft()
        if self._ended:
            return b""
        raise BlockingIOError

    def close(self) -> None:
        self._open = False
        self._loop.later(0.00005, self._far, b"")

    def came(self, data: bytes) -> None:
        """Take what the worker has sent; nothing means that it has closed its end."""
        if data:
            self._received.append(data)
        else:
            self._ended = True
        self._tell()

    def _tell(self) -> None:
        if self._reader is not None and (self._received or self._ended) and not self._told:
            self._told = True
            self._node.run(self._read)

    def _read(self) -> None:
        self._told = False
        if self._reader is not None and (self._received or self._ended):
            self._reader()
            self._tell()


class Board:
    """The progress board of a worker, both sides of it."""

    def __init__(self) -> None:
        self.progress = Progress(0, 0, 0, 0)

    def read(self) -> Progress:
        return self.progress

    def close(self) -> None:
        """The worker may still write on it."""


class Lines:
    """What lies between an agent and a worker."""

    def __init__(self, loop: SimulatedLoop, node: Node) -> None:
        self.worker: SimulatedWorker
        self.data = Socket(loop, node, lambda data: self.worker.hear(data))
        self.control = Socket(loop, node, lambda data: self.worker.hear_control(data))
        self.board = Board()


class SimulatedWorker:
    """A worker process."""

    def __init__(self, world: Any, agent: Any, number: int, pid: int, lines: Lines) -> None:
        self._world, self._agent = world, agent
        self.number, self.pid = number, pid
        self._lines = lines
        lines.worker = self
        self.node = Node(world.loop, f"{agent.node.name}/w{number}", world.seed)
        self.node.on_crash = self._gone
        self._reader = frames.FrameReader()
        self._templates: dict[int, template_pb2.TemplateDefinition] = {}
        self._chunks: deque[tuple[Any, ...]] = deque()
        self._revoked: set[int] = set()
        self._number = 0
        self._positions: deque[int] = deque()
        self._stop = self._reported = 0
        self._chunk: tuple[Any, ...] | None = None
        self._ended: list[tuple[Any, float, float]] = []
        self._flushed = 0.0
        self._status = 0
        world.loop.call_later(self.node.random.uniform(0.002, 0.02), self._ready, context=self.node.context)

    def _ready(self) -> None:
        self._agent.node.run(self._agent.zygote.spawned, self.number, self.pid)
        self._send(frames.READY, frames.READY_BODY.pack(self.pid))

    def _send(self, kind: int, *parts: bytes) -> None:
        self._world.loop.later(0.00005, self._lines.data.came, frames.pack(kind, *parts))

    # What the agent says.

    def hear(self, data: bytes) -> None:
        self.node.run(self._hear, data)

    def _hear(self, data: bytes) -> None:
        if not data:
            self.signal(signal.SIGKILL)
            return
        for kind, body in self._reader.feed(data):
            if kind == frames.TEMPLATE:
                (index,) = frames.TEMPLATE_HEAD.unpack_from(body)
                self._templates[index] = template_pb2.TemplateDefinition.FromString(
                    body[frames.TEMPLATE_HEAD.size :]
                )
            elif kind == frames.CHUNK:
                self._chunks.append(self._parsed(body))
                self._next_chunk()

    def _parsed(self, frame: bytes) -> tuple[Any, ...]:
        number, _, epoch, start, stop, size = frames.CHUNK_HEAD.unpack_from(frame)
        begin = frames.CHUNK_HEAD.size
        ids, body = frame[begin : begin + size], pb.ChunkBody.FromString(frame[begin + size :])
        attempts = {extra.position: extra.attempt or 1 for extra in body.extras}
        return number, epoch, start, stop, ids, body, attempts

    def hear_control(self, data: bytes) -> None:
        if data:
            self.node.run(self._hear_control, data)

    def _hear_control(self, data: bytes) -> None:
        (number,) = frames.REVOKE.unpack(data)
        if not number:
            self._flush()
            return
        answer = frames.REVOKED.pack(number, self._revoke(number))
        self._world.loop.later(0.00005, self._lines.control.came, answer)

    def _revoke(self, number: int) -> int:
        if number > self._number:
            self._revoked.add(number)
            return 0
        if number < self._number:
            return frames.NOTHING_REVOKED
        first = self._stop
        if self._positions:
            first = self._positions[0]
            self._positions.clear()
        self._stop = first
        return first

    # What it does.

    def _next_chunk(self) -> None:
        if self._chunk is None and self._chunks:
            self._chunk = chunk = self._chunks.popleft()
            number, _, start, stop, *_ = chunk
            self._positions = deque() if number in self._revoked else deque(range(start, stop))
            self._number, self._stop, self._reported = number, stop, start
            self._flushed = self._world.loop.time()
            self._next_run()

    def _next_run(self) -> None:
        if self._chunk is None:
            return
        if not self._positions:
            self._flush()
            self._chunk = None
            self._lines.board.progress = Progress(0, 0, 0, 0)
            self._next_chunk()
            return
        number, first, _, _, ids, body, attempts = self._chunk
        position = self._positions.popleft()
        run_id = ids[position * RUN_ID_BYTES : (position + 1) * RUN_ID_BYTES]
        now = self._world.loop.time()
        self._lines.board.progress = Progress(number, position, self._world.loop.now_ns(), 0)
        script, attempt = json.loads(body.args[position]), attempts.get(position, 1)
        inputs = self._inputs(body, position)
        run, epoch = run_id.hex(), first + position
        self._world.note("given", run, epoch, self.node.name, (attempt, inputs, self._agent.session))
        asyncio.get_running_loop().call_later(
            script["ms"] / 1000, self._run_ended, run, epoch, script, attempt, now
        )

    def _inputs(self, body: pb.ChunkBody, position: int) -> dict[str, bytes]:
        columns = zip(body.input_positions, body.input_ids, body.inputs, strict=True)
        return {upstream.hex(): data for at, upstream, data in columns if at == position}

    def _run_ended(self, run: str, epoch: int, script: dict[str, Any], attempt: int, began: float) -> None:
        now = self._world.loop.time()
        fails = attempt <= script.get("fails", 0)
        self._world.note("ended", run, epoch, self.node.name, "failed" if fails else "succeeded")
        self._ended.append((None if fails else f'"{run[4:16]}@{epoch:x}"'.encode(), began, now))
        if now - self._flushed >= FLUSH_SECONDS:
            self._flush()
        self._next_run()

    def _flush(self) -> None:
        self._flushed = self._world.loop.time()
        if not self._ended:
            return
        taken, self._ended = self._ended, []
        base = taken[0][1]
        micros = [round((end - start) * 1e6) for _, start, end in taken]
        columns = pb.ReportColumns(
            base_us=round(base * 1e6) + 1_700_000_000_000_000,
            started_us=[round((start - base) * 1e6) for _, start, _ in taken],
            durations_us=micros,
            results=[result or b"" for result, _, _ in taken],
            exceptions=[_failure(at) for at, (result, _, _) in enumerate(taken) if result is None],
        )
        head = frames.REPORT_HEAD.pack(self._number, self._reported, len(taken), sum(micros), 0)
        self._reported += len(taken)
        self._send(frames.REPORT, head, columns.SerializeToString())

    # How it ends.

    def signal(self, signum: int) -> None:
        """End it, at once or as soon as it gets to it."""
        self._status = signum
        if signum == signal.SIGKILL:
            self.node.kill()
        else:
            self._world.loop.later(self.node.random.uniform(0.0005, 0.003), self.node.kill)

    def _gone(self) -> None:
        loop = self._world.loop
        self._world.processes.pop(self.pid, None)
        loop.later(0.0001, self._lines.data.came, b"")
        loop.later(self.node.random.uniform(0.0005, 0.005), self._reaped)

    def _reaped(self) -> None:
        self._agent.node.run(self._agent.zygote.exited, self.number, self._status)


def _failure(position: int) -> pb.ReportException:
    return pb.ReportException(
        position=position,
        kind=pb.REPORT_KIND_FAILED,
        message="as scripted",
        failure=failure_pb2.Failure(type="RuntimeError", message="as scripted"),
    )


class Zygote:
    """Stands for a `ZygoteClient`."""

    def __init__(self, world: Any, agent: Any) -> None:
        self._world, self._agent = world, agent
        self.spawned: Callable[[int, int], None]
        self.exited: Callable[[int, int | None], None]

    def listen(self, loop: Any, on_spawned: Any, on_exited: Any, on_gone: Any) -> None:
        self.spawned, self.exited = on_spawned, on_exited

    def spawn(self, number: int, lines: Lines) -> bool:
        world = self._world
        pid = world.next_pid()
        world.processes[pid] = SimulatedWorker(world, self._agent, number, pid, lines)
        return True

    def close(self, loop: Any, timeout: float = 0.0) -> None:
        """End the workers with it."""
        self._agent.end_workers()
