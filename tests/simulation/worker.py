"""Workers without processes: they read real frames on sockets of memory and execute scripts in virtual time.

What runs do is in `attempt.py`. Everything else is as in `taskyard_agent.runner`: chunks in order, what
ended is sent after a while or with the end of a chunk, the tail of a chunk can be taken back, the board tells
what is executing.
"""

import signal
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from simulation.attempt import Attempt, Outcome
from simulation.lines import Lines
from simulation.loop import EPOCH_US, Node
from simulation.program import Program
from taskyard_agent.runner import frames
from taskyard_agent.runner.link import MAX_UNSENT_LOGS
from taskyard_agent.runner.output.printed import MARK_BYTES
from taskyard_agent.runner.progress_board import Progress
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import session_service_pb2, template_pb2
from taskyard_contract import log_entry

FLUSH_SECONDS: Final = 0.005
FIRST_PID: Final = 1 << 30
"""Beyond all real ones: a signal that escapes hits nobody."""
RUN_ID_BYTES: Final = 16
NO_EXTRA: Final = pb.AttemptExtra()


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
        self._ended: list[tuple[Outcome, float, float]] = []
        self._began = 0.0
        self._logs = session_service_pb2.LogBatch()
        self._flushed = 0.0
        self._status = 0
        self.program: Program | None = None
        """What its runs call others with."""
        world.loop.call_later(self.node.random.uniform(0.002, 0.02), self._ready, context=self.node.context)

    def _ready(self) -> None:
        self._agent.node.run(self._agent.zygote.spawned, self.number, self.pid)
        self.send(frames.READY, frames.READY_BODY.pack(self.pid, frames.LINK_VERSION, bytes(MARK_BYTES)))

    def send(self, kind: int, *parts: bytes) -> None:
        self._lines.data.answer(frames.pack(kind, *parts))

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
        return number, epoch, start, stop, ids, body, {extra.position: extra for extra in body.extras}

    def hear_control(self, data: bytes) -> None:
        if data:
            self.node.run(self._hear_control, data)

    def _hear_control(self, data: bytes) -> None:
        (number,) = frames.REVOKE.unpack(data)
        if not number:
            self.flush()
            return
        self._lines.control.answer(frames.REVOKED.pack(number, self._revoke(number)))

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
            self.flush()
            self._chunk = None
            self._lines.board.progress = Progress(0, 0, 0, 0)
            self._next_chunk()
            return
        number, first, _, _, ids, body, extras = self._chunk
        position = self._positions.popleft()
        run_id = ids[position * RUN_ID_BYTES : (position + 1) * RUN_ID_BYTES]
        self._began = self._world.loop.time()
        self._lines.board.progress = Progress(
            number, position, self._world.loop.now_ns(), len(self._logs.run_ids)
        )
        attempt = Attempt(
            self, run_id, first + position, body.args[position], body.ordinals[position],
            extras.get(position, NO_EXTRA),
        )  # fmt: skip
        given = attempt.number, self._inputs(body, position), self._agent.session
        self._world.note("given", run_id.hex(), attempt.epoch, self.node.name, given)
        attempt.begin()

    def _inputs(self, body: pb.ChunkBody, position: int) -> dict[str, bytes]:
        others = {other.run_id: other.result.data for other in body.others}
        columns = zip(body.input_positions, body.input_ids, body.inputs, strict=True)
        return {
            upstream.hex(): others.get(upstream, data) for at, upstream, data in columns if at == position
        }

    def ended(self, attempt: Attempt, how: str, outcome: Outcome) -> None:
        """Take in what came of the run it was on, and go on with the next one."""
        now = self._world.loop.time()
        self._world.note("ended", attempt.run_id.hex(), attempt.epoch, self.node.name, how)
        self._ended.append((outcome, self._began, now))
        if now - self._flushed >= FLUSH_SECONDS:
            self.flush()
        self._next_run()

    def log(self, run_id: bytes, epoch: int, number: int) -> None:
        """Take a log record, as `Link.log` does."""
        text = f"{self.node.name}:{epoch:x}:{run_id.hex()[4:16]}:{number}"
        self._world.note("logged", run_id.hex(), epoch, self.node.name, text)
        at_us = self._world.clock.now_us()
        log_entry.add_to(self._logs, (run_id, at_us, 20, "simulation", text, "task"))
        unsent = len(self._logs.run_ids)
        if unsent >= MAX_UNSENT_LOGS:
            self.flush()
        else:
            self._lines.board.progress = self._lines.board.progress._replace(logs=unsent)

    def program_of(self, caller: bytes) -> Program:
        """Return what its runs call others with; the first that does connects it."""
        if self.program is None:
            self.program = Program(self._world, self.node, caller)
        return self.program

    def trace(self, text: str) -> None:
        self._world.trace(self.node.name, text)

    def flush(self) -> None:
        """Send what was logged and what has ended."""
        self._flushed = self._world.loop.time()
        if self._logs.run_ids:
            self.send(frames.LOGS, self._logs.SerializeToString())
            self._logs.Clear()
            self._lines.board.progress = self._lines.board.progress._replace(logs=0)
        if not self._ended:
            return
        taken, self._ended = self._ended, []
        base = taken[0][1]
        micros = [round((end - start) * 1e6) for _, start, end in taken]
        exceptions = []
        for at, (outcome, _, _) in enumerate(taken):
            if not isinstance(outcome, bytes):
                outcome.position = at
                exceptions.append(outcome)
        columns = pb.ReportColumns(
            base_us=round(base * 1e6) + EPOCH_US,
            started_us=[round((start - base) * 1e6) for _, start, _ in taken],
            durations_us=micros,
            results=[outcome if isinstance(outcome, bytes) else b"" for outcome, _, _ in taken],
            exceptions=exceptions,
        )
        head = frames.REPORT_HEAD.pack(self._number, self._reported, len(taken), sum(micros), 0)
        self._reported += len(taken)
        self.send(frames.REPORT, head, columns.SerializeToString())

    @property
    def executing(self) -> tuple[str, int] | None:
        """The run it is on, and the epoch of that."""
        progress = self._lines.board.progress
        if self._chunk is None or not progress.started_ns:
            return None
        _, epoch, _, _, ids, *_ = self._chunk
        at = progress.position
        return ids[at * RUN_ID_BYTES : (at + 1) * RUN_ID_BYTES].hex(), epoch + at

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
        if self.program is not None:
            self._world.note("died", who=self.program.id)
            self._world.net.died(self.node)
        self._lines.data.answer(b"")
        loop.later(self.node.random.uniform(0.0005, 0.005), self._reaped)

    def _reaped(self) -> None:
        self._agent.node.run(self._agent.zygote.exited, self.number, self._status)


class Zygote:
    """Stands for a `ZygoteClient`."""

    def __init__(self, world: Any, agent: Any) -> None:
        self._world, self._agent = world, agent
        self.spawned: Callable[[int, int], None]
        self.exited: Callable[[int, int | None], None]
        self._gone: Callable[[], None] = lambda: None

    def listen(self, loop: Any, on_spawned: Any, on_exited: Any, on_gone: Any) -> None:
        self.spawned, self.exited, self._gone = on_spawned, on_exited, on_gone

    def spawn(self, number: int, lines: Lines) -> bool:
        world = self._world
        pid = world.next_pid()
        world.processes[pid] = SimulatedWorker(world, self._agent, number, pid, lines)
        return True

    def die(self) -> None:
        """Be gone, and all workers with it."""
        gone, self._gone = self._gone, lambda: None
        self._agent.end_workers()
        self._agent.node.run(gone)

    def prepare(self) -> None:
        """Imports are not simulated."""

    def close(self, loop: Any, timeout: float = 0.0) -> None:
        """End the workers with it."""
        self._agent.end_workers()
