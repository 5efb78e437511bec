"""The far end of a session's stream, and what a session has asked for over all of its streams.

What every frame must keep, whatever the script is about, is checked here: numbers of batches, templates,
lengths of columns, and that nothing is submitted twice.
"""

import time
from typing import NamedTuple

from conformance.far_end import FarEnd
from conformance.plane import LIMITS, Call, Plane
from conformance.things import check_arguments, check_new_id, check_template
from conformance.verdict import demand, same

from taskyard_api.v1 import common_pb2, template_pb2
from taskyard_api.v1 import errors_pb2 as ep
from taskyard_api.v1 import session_service_pb2 as sp

HEARTBEAT_MS = 200
LEASE_MS = 30_000


class Batch(NamedTuple):
    """A batch as it came first."""

    runs: dict[bytes, bytes]
    """Arguments by run."""
    at: float
    """When."""


class Asked:
    """One session, over any number of streams."""

    def __init__(self) -> None:
        self.session_id = b""
        self.stream_number = 0
        self.batches: dict[int, Batch] = {}
        self.may_come_again: set[bytes] = set()
        """Runs for which there was no room."""

    def take_hello(self, hello: sp.SessionHello) -> None:
        """Demand that a client introduces itself, as the same session each time."""
        demand(hello.protocol_min <= 2 <= hello.protocol_max, "the hello does not offer protocol 2")
        same(len(hello.session_id), 16, "the length of hello.session_id")
        same(hello.session_id, self.session_id or hello.session_id, "hello.session_id of a later stream")
        demand(hello.namespace in ("", "default"), "hello.namespace is neither empty nor 'default'")
        counts_up = hello.stream_number > self.stream_number or hello.stream_number == 0
        demand(counts_up, f"stream_number {hello.stream_number} comes after {self.stream_number}")
        self.session_id, self.stream_number = hello.session_id, hello.stream_number

    def take_batch(self, batch: sp.SubmitBatch, runs: dict[bytes, bytes]) -> None:
        """Take in the runs of a batch that came for the first time, or again on a later stream."""
        known = self.batches.get(batch.number)
        if known is not None:
            demand(batch.resend, f"batch {batch.number} comes again, and does not say so ('resend')")
            same(runs, known.runs, f"what batch {batch.number} has when it comes again")
            return
        same(batch.number, len(self.batches) + 1, "the number of a new batch")
        before = {run_id for other in self.batches.values() for run_id in other.runs}
        twice = (before & runs.keys()) - self.may_come_again
        demand(not twice, f"run {next(iter(twice), b'').hex()} is submitted in two batches")
        self.may_come_again -= runs.keys()
        self.batches[batch.number] = Batch(runs, time.monotonic())


class ClientLink(FarEnd):
    """One stream of a client."""

    who = "the client"

    def __init__(self, call: Call, asked: Asked) -> None:
        self.at = call.at
        """When it was opened."""
        self.asked = asked
        self.number = 0
        """Of the newest batch on this stream."""
        self.named: set[bytes] = set()
        """Runs that were submitted or subscribed here: their outcomes are to be sent."""
        self.heartbeats = 0
        self.goodbye = False
        self._templates: dict[int, template_pb2.RunTemplate] = {}
        super().__init__(call)

    async def submitted(self) -> bytes:
        """Wait for the first batch; returns the run in it."""
        await self.until(lambda: self.number, "batch of runs")
        runs = list(self.asked.batches[1].runs)
        same(len(runs), 1, "the number of runs")
        return runs[0]

    async def acknowledge(self) -> None:
        """Say that everything which came is durable."""
        await self.send(sp.SessionFrame(submitted_up_to=self.number))

    async def refuse(self, run_id: bytes, error: ep.ErrorDetail, code: int, message: str) -> float:
        """Acknowledge everything but one run; returns when that was said."""
        if error.retry_after_ms:
            self.asked.may_come_again.add(run_id)
        one = sp.RefusedRun(run_id=run_id, error=error, message=message, code=code)
        return await self.send_at(sp.SessionFrame(submitted_up_to=self.number, refused=[one]))

    async def send_at(self, frame: sp.SessionFrame) -> float:
        """Send a frame; returns when: nobody has read it before."""
        now = time.monotonic()
        await self.send(frame)
        return now

    async def left(self) -> None:
        """Wait until the client has said goodbye, and end its stream."""
        await self.until(lambda: self.goodbye, "goodbye")
        await self.end()

    def take(self, frame: sp.ClientFrame) -> None:
        """Take in what a client asks for."""
        demand(not frame.HasField("hello"), "the client said hello twice on one stream")
        demand(not self.goodbye, "the client goes on after its goodbye")
        demand(all(len(run_id) == 16 for run_id in frame.subscribe), "subscribe has an id of another length")
        if frame.HasField("submit"):
            self._take_batch(frame.submit)
        self.named |= set(frame.subscribe)
        self.heartbeats += frame.heartbeat
        self.goodbye = frame.goodbye

    def _take_batch(self, batch: sp.SubmitBatch) -> None:
        demand(batch.number > self.number, f"batch {batch.number} comes after {self.number} on one stream")
        self.number = batch.number
        self._templates |= {defined.index: defined.template for defined in batch.templates}
        runs: dict[bytes, bytes] = {}
        for group in batch.groups:
            demand(group.template in self._templates, "a group names a template this stream has not sent")
            check_template(self._templates[group.template], "the template of a group")
            runs |= _runs_of(group)
        self.asked.take_batch(batch, runs)
        self.named |= runs.keys()


def _runs_of(group: sp.RunGroup) -> dict[bytes, bytes]:
    count = len(group.run_ids)
    demand(len(group.args) in (0, count), f"args has {len(group.args)} entries for {count} runs")
    edges = len(group.upstream_positions), len(group.upstream_ids), len(group.upstream_kinds)
    same(edges, (edges[0],) * 3, "the lengths of the upstream columns")
    args = dict(zip(group.run_ids, group.args or [b""] * count, strict=True))
    same(len(args), count, "the number of different ids in a group")
    for extra in group.extras:
        demand(extra.position < count, "an extra has a position beyond the columns")
        if extra.HasField("payload"):
            args[group.run_ids[extra.position]] = extra.payload.data
    for run_id, data in args.items():
        check_new_id(run_id)
        check_arguments(common_pb2.Payload(data=data), 3, 4)
    return args


async def greet(call: Call, asked: Asked) -> None:
    """Read the hello of a client."""
    frame = await call.receive()
    demand(frame is not None and frame.HasField("hello"), "the first frame carries no hello")
    asked.take_hello(frame.hello)


async def meet(plane: Plane, asked: Asked) -> ClientLink:
    """Take the next stream of a client, and welcome it."""
    call = await plane.call("SessionService.Connect")
    await greet(call, asked)
    welcome = sp.SessionWelcome(
        protocol=2,
        lease_ms=LEASE_MS,
        heartbeat_ms=HEARTBEAT_MS,
        max_inline_bytes=LIMITS.inline_bytes,
        max_payload_bytes=LIMITS.payload_bytes,
        max_unacked_batches=8,
        server_version="conformance",
        acknowledges_logs=True,
        limits=LIMITS,
    )
    await call.send(sp.SessionFrame(welcome=welcome))
    return ClientLink(call, asked)
