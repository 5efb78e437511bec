"""What a worker without a stream may meet: the same tasks, by `Poll` and `ReportBatch`."""

import asyncio
import time

from conformance.link import Told, check_hello, welcome
from conformance.plane import PATIENCE, Call, Plane
from conformance.things import Chunk, arguments
from conformance.verdict import demand, fail, same
from conformance.workers import EPOCH, result
from google.rpc import code_pb2

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import errors_pb2, template_pb2

PAUSE = 0.1
"""Seconds that a poll without an answer waits here: a program that polls must not make a busy loop of it."""


class Poller:
    """The far end of a worker that polls."""

    def __init__(self, plane: Plane) -> None:
        self.told = Told()
        self.number = 0
        """Of the poll that was answered last."""
        self.report_number = 0
        self._plane = plane
        self._templates = 0

    async def poll(self, *, again: bool = False) -> Call:
        """Return the next poll, whose number must be the next, or the same one again."""
        call = await self._plane.call("Poll")
        request = call.request
        wanted = self.number if again else self.number + 1
        same(request.number, wanted, "the number of a poll" + (" whose response was lost" if again else ""))
        demand(request.agent_id and request.session_id, "a poll names no agent_id or no session_id")
        demand(not request.max_runs or request.chunk_size, "a poll asks for runs in chunks of 0")
        self.number = wanted
        return call

    async def welcome(self, held: tuple[ap.RunKey, ...] = ()) -> ap.PollRequest:
        """Take the poll that says hello, and welcome it; returns it."""
        call = await self.poll()
        request: ap.PollRequest = call.request
        demand(request.HasField("hello"), "the first poll carries no hello")
        check_hello(request.hello, held)
        same(request.hello.session_id, request.session_id, "the session id in the hello of a poll")
        await call.answer(ap.PollResponse(welcome=welcome()))
        return request

    async def working(self) -> Call:
        """Return a poll that asks for runs and waits for them."""
        while True:
            call = await self.poll()
            demand(not call.request.HasField("hello"), "a poll said hello again, without being asked to")
            if call.request.max_runs and call.request.wait_ms:
                return call
            await self.say_nothing(call)

    async def say_nothing(self, call: Call) -> None:
        """Answer a poll that there is nothing to say, after a short wait."""
        try:
            await asyncio.sleep(min(PAUSE, call.request.wait_ms / 1000))
        finally:  # also when nobody keeps silent any more: the poll was counted
            await call.answer(ap.PollResponse(reported_up_to=self.report_number))

    def assignment(self, chunk: Chunk) -> ap.PollResponse:
        """Write the response that assigns a chunk."""
        self.told.assigned(chunk)
        self._templates += 1
        chunk.message.template = self._templates
        definition = template_pb2.TemplateDefinition(index=self._templates, template=chunk.template)
        return ap.PollResponse(templates=[definition], chunks=[chunk.message])

    async def reports(self, *, again: bool = False) -> Call:
        """Return the next batch of reports, while polls are answered that there is nothing to say."""
        async with _Background(self._keep_silent()):
            call = await self._plane.call("ReportBatch")
        wanted = self.report_number if again else self.report_number + 1
        same(call.request.report_number, wanted, "report_number" + (" of a repeated batch" if again else ""))
        self.report_number = wanted
        self.told.take(call.request)
        return call

    async def acknowledge(self, call: Call) -> None:
        """Say that a batch is durable."""
        await call.answer(ap.ReportBatchResponse(reported_up_to=call.request.report_number))

    async def until_reported(self, chunk: Chunk) -> None:
        """Take batches until all runs of a chunk were reported."""
        end = time.monotonic() + PATIENCE
        while not self.told.outcomes.keys() >= set(chunk.ids):
            demand(time.monotonic() < end, f"not all runs of '{chunk.task}' were reported in time")
            await self.acknowledge(await self.reports())

    async def _keep_silent(self) -> None:
        while True:
            await self.say_nothing(await self.poll())


class _Background:
    """Something that goes on for as long as a block does; its failure is the block's."""

    def __init__(self, work: "object") -> None:
        self._work = work

    async def __aenter__(self) -> None:
        self._task = asyncio.ensure_future(self._work)  # type: ignore[call-overload]

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled() and self._task.exception() is not None:
            fail(str(self._task.exception()))


async def poll(plane: Plane) -> None:
    """Say hello, ask for runs, execute a chunk of three, report it in numbered batches."""
    poller = Poller(plane)
    await poller.welcome()
    call = await poller.working()
    three = Chunk(EPOCH, "kit.add", [arguments(1, 2), arguments(3, 4), arguments(5, 6, 7)])
    await call.answer(poller.assignment(three))
    await poller.until_reported(three)
    told = poller.told
    same([result(told, run_id) for run_id in three.ids], [3, 7, 18], "the results of three runs")


async def lost_poll(plane: Plane) -> None:
    """Lose the response to a poll that had work: ask for the same number again, and execute it."""
    poller = Poller(plane)
    await poller.welcome()
    call = await poller.working()
    one = Chunk(EPOCH, "kit.add", [arguments(3, 4)])
    response = poller.assignment(one)
    await call.hang_up()
    await (await poller.poll(again=True)).answer(response)
    await poller.until_reported(one)
    same(result(poller.told, one.ids[0]), 7, "the result of a run whose assignment was lost once")


async def lost_report(plane: Plane) -> None:
    """Lose the response to a batch of reports: send the same batch again, before any other."""
    poller = Poller(plane)
    await poller.welcome()
    call = await poller.working()
    one = Chunk(EPOCH, "kit.add", [arguments(3, 4)])
    await call.answer(poller.assignment(one))
    while True:
        batch = await poller.reports()
        if batch.request.reports:
            break
        await poller.acknowledge(batch)  # it may tell first that the run has started
    await batch.hang_up()
    repeated = await poller.reports(again=True)
    same(repeated.request, batch.request, "the repeated batch")
    await poller.acknowledge(repeated)
    same(result(poller.told, one.ids[0]), 7, "the result of a run whose report was lost once")
    await (await poller.poll()).answer(ap.PollResponse())


async def forgotten(plane: Plane) -> None:
    """Be unknown to a restarted server: say hello with what is held, number on, and report it."""
    poller = Poller(plane)
    await poller.welcome()
    call = await poller.working()
    long = Chunk(EPOCH, "kit.sleep", [arguments(2)])
    await call.answer(poller.assignment(long))
    call = await poller.poll()
    await call.refuse(
        code_pb2.FAILED_PRECONDITION,
        errors_pb2.ERROR_REASON_UNKNOWN_SESSION,
        "the server was restarted; say hello again",
    )
    # Either counts on from the number that was refused, or repeats it.
    call = await plane.call("Poll")
    demand(call.request.number - poller.number in (0, 1), "the numbers of polls do not go on")
    poller.number = call.request.number
    demand(call.request.HasField("hello"), "after UNKNOWN_SESSION the next poll carries no hello")
    check_hello(call.request.hello, (long.key(),))
    await call.answer(ap.PollResponse(welcome=welcome()))
    await poller.until_reported(long)


async def drain(plane: Plane) -> None:
    """Drain when asked: ask for nothing, say so, finish and report, poll until it is drained, end."""
    poller = Poller(plane)
    await poller.welcome()
    call = await poller.working()
    long = Chunk(EPOCH, "kit.sleep", [arguments(1)])
    await call.answer(poller.assignment(long))
    await (await poller.poll()).answer(ap.PollResponse(drain=True))
    await poller.until_reported(long)
    call = await poller.poll()
    while not call.request.draining:
        await poller.say_nothing(call)
        call = await poller.poll()
    demand(not call.request.max_runs, "a worker that drains asks for runs")
    await call.answer(ap.PollResponse(drained=True))
