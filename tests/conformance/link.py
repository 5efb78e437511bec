"""The far end of a worker's stream: answers heartbeats, acknowledges reports, and remembers what was told.

What every frame must keep, whatever the script is about, is checked here: numbers of reports, lengths of
columns, epochs, credit.
"""

from collections.abc import Iterator

from conformance.far_end import FarEnd
from conformance.plane import LIMITS, Call, Plane
from conformance.things import Chunk
from conformance.verdict import demand, same

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import template_pb2

HEARTBEAT_MS = 200
LEASE_MS = 30_000


def welcome(drop: tuple[ap.RunKey, ...] = ()) -> ap.AgentWelcome:
    """Accept a worker."""
    return ap.AgentWelcome(
        protocol=2,
        lease_ms=LEASE_MS,
        heartbeat_ms=HEARTBEAT_MS,
        max_inline_bytes=LIMITS.inline_bytes,
        max_payload_bytes=LIMITS.payload_bytes,
        server_version="conformance",
        drop=drop,
        limits=LIMITS,
    )


def check_hello(hello: ap.AgentHello, held: tuple[ap.RunKey, ...] = ()) -> None:
    """Demand that a worker introduces itself as the one the scripts are for."""
    demand(hello.protocol_min <= 2 <= hello.protocol_max, "the hello does not offer protocol 2")
    demand(hello.agent_id, "hello.agent_id is empty")
    demand(hello.name, "hello.name is empty")
    same(len(hello.session_id), 16, "the length of hello.session_id")
    demand("kit" in hello.queues, "hello.queues does not name 'kit'")
    demand(hello.slots, "hello.slots is 0")
    for capability in ("json/plain", "code/name"):
        demand(capability in hello.capabilities, f"hello.capabilities does not name '{capability}'")
    offered = {task.name for task in hello.tasks}
    for name in ("kit.add", "kit.fail", "kit.sleep"):
        demand(name in offered, f"hello.tasks does not name '{name}'")
    told = sorted((key.run_id.hex(), key.epoch) for key in hello.held)
    same(told, sorted((key.run_id.hex(), key.epoch) for key in held), "hello.held")


class Outcome:
    """What was reported of a run."""

    def __init__(self, result: bytes, exception: ap.ReportException | None) -> None:
        self.result = result
        self.exception = exception


class Told:
    """Everything a worker has told, by whatever way."""

    def __init__(self) -> None:
        self.outcomes: dict[bytes, Outcome] = {}
        self.started: set[bytes] = set()
        self.cancelled: set[bytes] = set()
        self.lost: dict[bytes, ap.LostRun] = {}
        self.given_back: set[bytes] = set()
        self.logs: list[str] = []
        self.epochs: dict[bytes, int] = {}
        """Of the runs that were assigned."""

    def assigned(self, chunk: Chunk) -> None:
        """Expect word of some runs."""
        self.epochs |= chunk.epochs

    def take(self, frame: ap.AgentFrame | ap.ReportBatchRequest) -> None:
        """Take in what a frame, or a call that stands for one, says of runs."""
        for report in frame.reports:
            self._take_report(report)
        for started in frame.started:
            self._known(started.key.run_id, started.key.epoch)
            self.started.add(started.key.run_id)
        for lost in frame.lost:
            self._known(lost.key.run_id, lost.key.epoch)
            self.lost[lost.key.run_id] = lost
        for keys, where in ((frame.cancelled, self.cancelled), (frame.given_back, self.given_back)):
            for key in keys:
                self._known(key.run_id, key.epoch)
                where.add(key.run_id)
        self.logs += frame.logs.messages

    def _take_report(self, report: ap.ReportChunk) -> None:
        for run_id, epoch, outcome in rows_of(report):
            self._known(run_id, epoch)
            self.outcomes[run_id] = outcome

    def _known(self, run_id: bytes, epoch: int) -> None:
        demand(run_id in self.epochs, f"the worker told of run {run_id.hex()}, which it was never given")
        same(epoch, self.epochs[run_id], f"the epoch told of run {run_id.hex()}")


def rows_of(report: ap.ReportChunk) -> Iterator[tuple[bytes, int, Outcome]]:
    """Read the runs of a report, with the epoch of each."""
    columns = ap.ReportColumns.FromString(report.columns)
    count, rest = divmod(len(report.run_ids), 16)
    demand(count and not rest, "the run_ids of a report are not ids of 16 bytes each")
    lengths = len(columns.results), len(columns.started_us), len(columns.durations_us)
    same(lengths, (count, count, count), "the lengths of results, started_us and durations_us")
    demand(columns.base_us > 1_500_000_000_000_000, "base_us is no time in microseconds since 1970")
    exceptions = {entry.position: entry for entry in columns.exceptions}
    demand(not exceptions or max(exceptions) < count, "an exception has a position beyond the columns")
    for at in range(count):
        outcome = Outcome(columns.results[at], exceptions.get(at))
        yield report.run_ids[at * 16 : at * 16 + 16], report.first_epoch + at, outcome


class Link(FarEnd):
    """One stream of a worker."""

    who = "the worker"

    def __init__(self, call: Call, hello: ap.AgentHello, told: Told) -> None:
        self.hello = hello
        self.told = told
        self.acknowledges = True
        self.granted = 0
        self.chunk_size = 0
        self.assigned = 0
        self.draining = False
        self.numbers: list[int] = []
        """Of the frames with reports, as they came."""
        self.heartbeats = 0
        self._templates = 0
        super().__init__(call)

    async def assign(self, chunk: Chunk) -> None:
        """Assign a chunk, with its template; in parts, if the worker has room for fewer runs, or wants them
        in smaller chunks.
        """
        self._templates += 1
        chunk.message.template = self._templates
        templates = [template_pb2.TemplateDefinition(index=self._templates, template=chunk.template)]
        self.told.assigned(chunk)
        first, total = 0, len(chunk.ids)
        while first < total:
            await self.until(
                lambda: self.granted > self.assigned, f"credit for another run of '{chunk.task}'"
            )
            count = min(self.granted - self.assigned, self.chunk_size, total - first)
            self.assigned += count
            await self.send(ap.ServerFrame(templates=templates, chunks=[chunk.part(first, count)]))
            first, templates = first + count, []

    def take(self, frame: ap.AgentFrame) -> None:
        """Take in what a worker tells."""
        demand(not frame.HasField("hello"), "the worker said hello twice on one stream")
        told = frame.reports or frame.given_back or frame.lost or frame.cancelled
        demand(frame.report_number or not told, "a frame with reports has no report_number")
        if frame.report_number:
            last = self.numbers[-1] if self.numbers else 0
            demand(frame.report_number > last, f"report_number {frame.report_number} comes after {last}")
            self.numbers.append(frame.report_number)
        if frame.HasField("credit"):
            demand(frame.credit.chunk_size or not frame.credit.granted_total, "credit.chunk_size is 0")
            demand(frame.credit.granted_total >= self.assigned, "credit takes back runs that were assigned")
            demand(not self.draining, "a worker that drains gives no credit")
            self.granted, self.chunk_size = frame.credit.granted_total, frame.credit.chunk_size
        if frame.heartbeat:
            demand(frame.heartbeat > self.heartbeats, "heartbeats do not count up")
            self.heartbeats = frame.heartbeat
        self.draining = self.draining or frame.draining
        self.told.take(frame)

    async def answer(self, frame: ap.AgentFrame) -> None:
        """Acknowledge a report, and answer a heartbeat."""
        number = frame.report_number if self.acknowledges else 0
        if number or frame.heartbeat:
            await self.send(ap.ServerFrame(reported_up_to=number, heartbeat=frame.heartbeat))


async def meet(plane: Plane, told: Told, *, held: tuple[ap.RunKey, ...] = (), number: int = 1) -> Link:
    """Take the next stream of a worker, and welcome it."""
    call = await plane.call("AgentService.Connect")
    frame = await call.receive()
    demand(frame is not None and frame.HasField("hello"), "the first frame carries no hello")
    check_hello(frame.hello, held)
    demand(frame.hello.stream_number in (0, number), f"stream_number of stream {number} is another one")
    await call.send(ap.ServerFrame(welcome=welcome()))
    return Link(call, frame.hello, told)
