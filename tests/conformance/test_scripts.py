"""The kit passes programs that keep the contract, and says of others what they did wrong."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from conformance import clients, polling, workers
from conformance.clients import RETRY_AFTER_MS
from conformance.judging import Program, verdict
from conformance.plane import Plane
from conformance.scenarios import SCENARIOS
from conformance.things import JSON, QUEUE, arguments, new_id, template_of
from grpc import aio

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import common_pb2
from taskyard_api.v1 import run_service_pb2 as rp
from taskyard_api.v1.agent_service_pb2_grpc import AgentServiceStub
from taskyard_api.v1.run_service_pb2_grpc import RunServiceStub


def new_run(run_id: bytes) -> rp.SubmitRunsRequest:
    args = common_pb2.Payload(encoding=JSON, data=arguments(3, 4))
    return rp.SubmitRunsRequest(runs=[rp.NewRun(run_id=run_id, template=template_of("kit.add"), args=args)])


def client(*, pause: float = RETRY_AFTER_MS / 1000, same_id: bool = True) -> Program:
    """A client that is refused once."""

    async def program(channel: aio.Channel) -> None:
        stub: Any = RunServiceStub(channel)
        run_id = new_id()
        with pytest.raises(aio.AioRpcError):
            await stub.SubmitRuns(new_run(run_id))
        await asyncio.sleep(pause)
        again = run_id if same_id else new_id(1)
        await stub.SubmitRuns(new_run(again))
        await stub.WaitRun(rp.WaitRunRequest(run_id=again, timeout_ms=10_000))

    return program


@pytest.mark.parametrize(
    ("program", "wrong"),
    [
        (client(), ""),
        (client(pause=0), "told to wait"),
        (client(same_id=False), "the repeated request is"),
    ],
)
def test_a_client_that_is_refused_once(program: Program, wrong: str):
    assert re.search(wrong or "^$", asyncio.run(verdict(clients.overloaded, program)))


def test_a_client_that_does_not_give_up():
    async def program(channel: aio.Channel) -> None:
        stub: Any = RunServiceStub(channel)
        for _ in range(2):
            with suppress(aio.AioRpcError):
                await stub.SubmitRuns(new_run(new_id()))

    async def script(plane: Plane) -> None:
        await clients.unauthenticated(plane)
        assert await plane.unexpected() == "SubmitRuns"

    assert asyncio.run(verdict(script, program)) == "SubmitRuns"


class Worker:
    """The smallest worker there is, with a defect for each rule of a report."""

    def __init__(self, defect: str = "", *, room: int = 5, chunk_size: int = 5) -> None:
        self._defect = defect
        self._room, self._chunk_size = room, chunk_size
        self.lengths: list[int] = []
        """Of the chunks it was given."""
        self._number = 0
        self._received = 0

    async def __call__(self, channel: aio.Channel) -> None:
        async with self._stream(channel) as stream:
            async for frame in stream:
                if frame.HasField("welcome"):
                    await stream.write(self._credit())
                for chunk in frame.chunks:
                    self.lengths.append(len(chunk.run_ids) // 16)
                    self._received += self.lengths[-1]
                    await stream.write(self._report(chunk))

    @asynccontextmanager
    async def _stream(self, channel: aio.Channel) -> AsyncIterator[Any]:
        stream: Any = AgentServiceStub(channel).Connect()  # type: ignore[call-arg]
        await stream.write(ap.AgentFrame(hello=self._hello()))
        try:
            yield stream
        finally:
            stream.cancel()

    def _hello(self) -> ap.AgentHello:
        names: Iterable[str] = ("kit.add", "kit.fail", "kit.sleep")
        return ap.AgentHello(
            protocol_min=2,
            protocol_max=2,
            agent_id="smallest",
            session_id=b"1" if self._defect == "session" else new_id(),
            name="smallest",
            queues=[QUEUE],
            slots=1,
            capabilities=[JSON, "code/name"],
            tasks=[ap.TaskOffer(name=name) for name in names],
        )

    def _credit(self) -> ap.AgentFrame:
        chunk_size = 0 if self._defect == "chunk" else self._chunk_size
        return ap.AgentFrame(
            credit=ap.Credit(granted_total=self._received + self._room, chunk_size=chunk_size)
        )

    def _report(self, chunk: ap.AssignChunk) -> ap.AgentFrame:
        self._number += self._defect != "number"
        calls = ap.ChunkBody.FromString(chunk.body).args
        columns = ap.ReportColumns(base_us=1_700_000_000_000_000)
        for call in calls:
            columns.started_us.append(0)
            columns.durations_us.append(10)
            columns.results.append(str(sum(json.loads(call)["args"])).encode())
        if self._defect == "columns":
            del columns.results[-1]
        if self._defect == "result":
            columns.results[0] = b"0"
        epoch = chunk.first_epoch + (self._defect == "epoch")
        report = ap.ReportChunk(first_epoch=epoch, run_ids=chunk.run_ids, columns=columns.SerializeToString())
        frame = ap.AgentFrame(report_number=self._number, reports=[report])
        frame.MergeFrom(self._credit())
        return frame


@pytest.mark.parametrize(
    ("defect", "wrong"),
    [
        ("", "^$"),
        ("session", "the length of hello.session_id is 1"),
        ("chunk", "credit.chunk_size is 0"),
        ("number", "a frame with reports has no report_number"),
        ("columns", "the lengths of results, started_us and durations_us"),
        ("result", "the results of three runs"),
        ("epoch", "the epoch told of run"),
    ],
)
def test_a_worker(defect: str, wrong: str):
    assert re.search(wrong, asyncio.run(verdict(workers.chunk, Worker(defect))))


@pytest.mark.parametrize(
    ("room", "chunk_size", "lengths"),
    [(5, 5, [3, 1]), (5, 2, [2, 1, 1]), (1, 5, [1, 1, 1, 1]), (2, 1, [1, 1, 1, 1])],
)
def test_a_worker_gets_no_more_than_it_has_room_for(room: int, chunk_size: int, lengths: list[int]):
    worker = Worker(room=room, chunk_size=chunk_size)
    assert asyncio.run(verdict(workers.chunk, worker)) == ""
    assert worker.lengths == lengths


class Polling(Worker):
    """The same without a stream; it repeats each poll that waits, and gives runs back when it drains."""

    async def __call__(self, channel: aio.Channel) -> None:
        stub: Any = AgentServiceStub(channel)
        hello = self._hello()
        ids = {"agent_id": hello.agent_id, "session_id": hello.session_id}
        await stub.Poll(ap.PollRequest(number=1, hello=hello, **ids))
        held: list[ap.AssignChunk] = []
        number, draining, drained = 1, False, False
        while not drained:
            number += 1
            room = 0 if draining else self._room
            asked = ap.PollRequest(number=number, chunk_size=self._chunk_size, draining=draining, **ids)
            asked.wait_ms = 5_000
            more = ap.PollRequest(max_runs=room)
            more.MergeFrom(asked)
            both = await asyncio.gather(stub.Poll(asked), stub.Poll(more))
            assert both[0] == both[1]
            drained, draining = both[0].drained, draining or both[0].drain
            self.lengths += [len(chunk.run_ids) // 16 for chunk in both[0].chunks]
            held += both[0].chunks
            if self._defect != "waits" or draining:
                for chunk in held:
                    await stub.ReportBatch(self._batch(chunk, draining, ids))
                held = []

    def _batch(self, chunk: ap.AssignChunk, draining: bool, ids: dict[str, Any]) -> ap.ReportBatchRequest:
        if not draining:
            frame = self._report(chunk)
            return ap.ReportBatchRequest(report_number=frame.report_number, reports=frame.reports, **ids)
        self._number += 1
        key = ap.RunKey(run_id=chunk.run_ids, epoch=chunk.first_epoch)
        return ap.ReportBatchRequest(report_number=self._number, given_back=[key], **ids)


@pytest.mark.parametrize(("room", "chunk_size", "lengths"), [(3, 2, [2, 1]), (1, 5, [1, 1, 1])])
def test_a_worker_that_repeats_a_poll_that_waits(room: int, chunk_size: int, lengths: list[int]):
    worker = Polling(room=room, chunk_size=chunk_size)
    assert asyncio.run(verdict(polling.poll, worker)) == ""
    assert worker.lengths == lengths


def test_a_worker_that_gives_back_when_it_drains():
    assert asyncio.run(verdict(polling.drain, Polling("waits"))) == ""


def test_every_script_says_what_a_program_has_to_do():
    assert [name for name, scenario in SCENARIOS.items() if not scenario.about] == []
