"""What a worker without a stream may meet: the same tasks, by `Poll` and `ReportBatch`."""

import asyncio
import time
from contextlib import suppress

from conformance.link import Told, check_hello, welcome
from conformance.plane import PATIENCE, Call, Plane
from conformance.things import Chunk, arguments
from conformance.verdict import Broken, demand, fail, same
from conformance.workers import EPOCH, result
from google.rpc import code_pb2

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import errors_pb2

REPEATS = 50
"""How often a program may repeat a poll that was answered, or is about to be."""
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
        self._response: ap.PollResponse | None = None
        """What the poll of this number was answered."""
        self._waiting: list[Call] = []
        """All calls with this number that have no answer yet."""
        self._early: Call | None = None
        """One with another number, which came while somebody looked for this one."""
        self._chunk: Chunk | None = None
        """Of which runs are left to assign, from the position `_first` on."""
        self._first = 0

    async def poll(self, *, again: bool = False) -> Call:
        """Return the next poll, whose number must be the next, or the same one again.

        One that repeats a number that was answered had joined the call that waited, because room appeared
        meanwhile, or because the program drains: it is answered alike.
        """
        call = await self._call()
        for _ in range(REPEATS):
            if again or self._response is None or call.request.number != self.number:
                break
            await asyncio.shield(call.answer(self._response))
            call = await self._call()
        request = call.request
        wanted = self.number if again else self.number + 1
        same(request.number, wanted, "the number of a poll" + (" whose response was lost" if again else ""))
        demand(request.agent_id and request.session_id, "a poll names no agent_id or no session_id")
        demand(not request.max_runs or request.chunk_size, "a poll asks for runs in chunks of 0")
        self.number, self._response, self._waiting = wanted, None, [call]
        return call

    async def _call(self) -> Call:
        early, self._early = self._early, None
        return early or await self._plane.call("Poll")

    async def _joined(self, call: Call) -> Call | None:
        """Return a poll that joins the one that waits, None when there is none for a short time."""
        if self._early is not None or len(self._waiting) > REPEATS:
            return None
        with suppress(Broken):  # none came
            newer = await self._plane.call("Poll", min(PAUSE, call.request.wait_ms / 1000))
            if newer.request.number == self.number:
                self._waiting.append(newer)
                return newer
            self._early = newer
        return None

    def take_hello(self, call: Call) -> None:
        """Go on with a poll that says hello again, whatever its number."""
        self.number, self._response, self._waiting = call.request.number, None, [call]

    async def answer(self, response: ap.PollResponse) -> None:
        """Answer the poll that waits, those that have joined it, and in the same way whoever repeats it."""
        self._response, waiting, self._waiting = response, self._waiting, []
        await asyncio.shield(asyncio.gather(*(call.answer(response) for call in waiting)))

    async def lose(self) -> None:
        """Lose the answer to the poll that waits."""
        for call in self._waiting:
            await call.hang_up()

    async def welcome(self, held: tuple[ap.RunKey, ...] = ()) -> ap.PollRequest:
        """Take the poll that says hello, and welcome it; returns it."""
        call = await self.poll()
        request: ap.PollRequest = call.request
        demand(request.HasField("hello"), "the first poll carries no hello")
        check_hello(request.hello, held)
        same(request.hello.session_id, request.session_id, "the session id in the hello of a poll")
        await self.answer(ap.PollResponse(welcome=welcome()))
        return request

    async def working(self) -> Call:
        """Return a poll that asks for runs and waits for them."""
        call = await self.poll()
        while True:
            demand(not call.request.HasField("hello"), "a poll said hello again, without being asked to")
            if call.request.max_runs and call.request.wait_ms:
                return call
            newer = await self._joined(call)
            if newer is None:
                await self.answer(ap.PollResponse(reported_up_to=self.report_number))
                newer = await self.poll()
            call = newer

    async def say_nothing(self, call: Call) -> None:
        """Answer a poll that there is nothing to say, after a short wait; unless runs are left to assign."""
        response = ap.PollResponse(reported_up_to=self.report_number)
        newer: Call | None = call
        try:
            while newer is not None and not (self._chunk is not None and newer.request.max_runs):
                newer = await self._joined(newer)
            if newer is not None and self._chunk is not None:
                response = self._rest(newer.request, self._chunk)
        finally:  # also when nobody keeps silent any more: the poll was counted
            await self.answer(response)

    async def say_last(self, call: Call, response: ap.PollResponse) -> None:
        """Answer a poll after which there is none, when those that repeat it have come."""
        newer: Call | None = call
        while newer is not None:
            newer = await self._joined(newer)
        await self.answer(response)

    def assignment(self, call: Call, chunk: Chunk) -> ap.PollResponse:
        """Write the response that assigns a chunk, or as much of it as a poll asks for: the polls after it
        get the others.
        """
        self.told.assigned(chunk)
        self._templates += 1
        chunk.message.template = self._templates
        self._first = 0
        response = self._rest(call.request, chunk)
        response.templates.add(index=self._templates, template=chunk.template)
        return response

    def _rest(self, request: ap.PollRequest, chunk: Chunk) -> ap.PollResponse:
        first, total = self._first, len(chunk.ids)
        end = min(total, first + request.max_runs)
        sizes = range(first, end, request.chunk_size)
        parts = [chunk.part(at, min(request.chunk_size, end - at)) for at in sizes]
        self._first, self._chunk = end, chunk if end < total else None
        return ap.PollResponse(chunks=parts, reported_up_to=self.report_number)

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

    async def until_reported(self, chunk: Chunk, *, or_given_back: bool = False) -> None:
        """Take batches until all runs of a chunk were reported; or given back, where they may be."""
        end, told = time.monotonic() + PATIENCE, self.told
        while not set(told.outcomes).union(told.given_back if or_given_back else ()) >= set(chunk.ids):
            demand(time.monotonic() < end, f"not all runs of '{chunk.task}' were reported in time")
            await self.acknowledge(await self.reports())
            begun = told.given_back & (told.started | told.outcomes.keys())
            demand(not begun, "a run was given back that had begun")

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
    """Say hello, ask for runs, execute three of them, report them in numbered batches."""
    poller = Poller(plane)
    await poller.welcome()
    call = await poller.working()
    three = Chunk(EPOCH, "kit.add", [arguments(1, 2), arguments(3, 4), arguments(5, 6, 7)])
    await poller.answer(poller.assignment(call, three))
    await poller.until_reported(three)
    told = poller.told
    same([result(told, run_id) for run_id in three.ids], [3, 7, 18], "the results of three runs")


async def lost_poll(plane: Plane) -> None:
    """Lose the response to a poll that had work: ask for the same number again, and execute it."""
    poller = Poller(plane)
    await poller.welcome()
    call = await poller.working()
    one = Chunk(EPOCH, "kit.add", [arguments(3, 4)])
    response = poller.assignment(call, one)
    await poller.lose()
    await poller.poll(again=True)
    await poller.answer(response)
    await poller.until_reported(one)
    same(result(poller.told, one.ids[0]), 7, "the result of a run whose assignment was lost once")


async def lost_report(plane: Plane) -> None:
    """Lose the response to a batch of reports: send the same batch again, before any other."""
    poller = Poller(plane)
    await poller.welcome()
    call = await poller.working()
    one = Chunk(EPOCH, "kit.add", [arguments(3, 4)])
    await poller.answer(poller.assignment(call, one))
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
    await poller.poll()
    await poller.answer(ap.PollResponse())


async def forgotten(plane: Plane) -> None:
    """Be unknown to a restarted server: say hello with what is held, number on, and report it."""
    poller = Poller(plane)
    await poller.welcome()
    call = await poller.working()
    long = Chunk(EPOCH, "kit.sleep", [arguments(2)])
    await poller.answer(poller.assignment(call, long))
    call = await poller.poll()
    for _ in range(REPEATS):
        await call.refuse(
            code_pb2.FAILED_PRECONDITION,
            errors_pb2.ERROR_REASON_UNKNOWN_SESSION,
            "the server was restarted; say hello again",
        )
        call = await plane.call("Poll")
        if call.request.HasField("hello") or call.request.number != poller.number:
            break  # otherwise it had joined the one that was refused
    # Either counts on from the number that was refused, or repeats it.
    demand(call.request.number - poller.number in (0, 1), "the numbers of polls do not go on")
    poller.take_hello(call)
    demand(call.request.HasField("hello"), "after UNKNOWN_SESSION the next poll carries no hello")
    check_hello(call.request.hello, (long.key(),))
    await poller.answer(ap.PollResponse(welcome=welcome()))
    await poller.until_reported(long)


async def drain(plane: Plane) -> None:
    """Drain when asked: ask for nothing, say so, finish and report what is held, or give back what has not
    begun; poll until it is drained, end.
    """
    poller = Poller(plane)
    await poller.welcome()
    call = await poller.working()
    long = Chunk(EPOCH, "kit.sleep", [arguments(1)])
    await poller.answer(poller.assignment(call, long))
    await poller.poll()
    await poller.answer(ap.PollResponse(drain=True))
    await poller.until_reported(long, or_given_back=True)
    call = await poller.poll()
    while not call.request.draining:
        await poller.say_nothing(call)
        call = await poller.poll()
    demand(not call.request.max_runs, "a worker that drains asks for runs")
    await poller.say_last(call, ap.PollResponse(drained=True))
