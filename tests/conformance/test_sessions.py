"""Scripts for clients with a session pass those that keep the contract, and say of others what is wrong."""

import asyncio
import re
from contextlib import suppress
from typing import Any

import pytest
from conformance import sessions
from conformance.judging import verdict
from conformance.plane import Plane
from conformance.scenarios import SCENARIOS
from conformance.things import arguments, new_id, template_of
from grpc import aio

from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_api.v1 import template_pb2 as tp
from taskyard_api.v1.session_service_pb2_grpc import SessionServiceStub


class Client:
    """The smallest client with a session there is, with a defect for each rule."""

    def __init__(self, defect: str = "") -> None:
        self._defect = defect
        self._session_id = new_id()
        self._run_id = new_id(1)
        self._streams = self._batch = 0
        self._durable = False
        self._writing = asyncio.Lock()
        self._left = False
        self.values: list[bytes] = []
        """Results it was told while it listened."""

    async def __call__(self, channel: aio.Channel) -> None:
        stub: Any = SessionServiceStub(channel)
        while not self._left:
            pause = 0.0
            try:
                pause = await self._stream(stub.Connect())
            except aio.AioRpcError:
                pause = sessions.RETRY_AFTER_MS / 1000 if self._streams == 1 else 0.0
            await asyncio.sleep(0 if self._defect == "early" else pause)

    async def _stream(self, call: Any) -> float:
        self._streams += 1
        await self._write(call, hello=self._hello())
        beating: asyncio.Task[None] | None = None
        try:
            while (frame := await call.read()) is not aio.EOF:
                if frame.HasField("welcome"):
                    await self._begin(call)
                    beating = asyncio.create_task(self._beat(call, frame.welcome.heartbeat_ms / 1000))
                pause = await self._take(call, frame)
                if pause is not None:
                    return pause
        finally:
            if beating is not None:
                beating.cancel()
        raise aio.AioRpcError(await call.code(), aio.Metadata(), aio.Metadata())

    async def _take(self, call: Any, frame: sp.SessionFrame) -> float | None:
        """Take in a frame; returns for how long to be away, when the stream is done with."""
        for refused in frame.refused:
            if not refused.error.retry_after_ms:
                return await self._leave(call, b"refused")
            pause = 0 if self._defect == "early" else refused.error.retry_after_ms / 1000
            await asyncio.sleep(pause)
            await self._submit(call)
        if frame.submitted_up_to and not frame.refused:
            self._durable = True
            if self._defect == "twice":
                self._defect = ""
                await self._submit(call)
        if frame.reconnect_after_ms:
            return frame.reconnect_after_ms / 1000
        for outcome in frame.results.others:
            return await self._leave(call, outcome.result.data)
        return None

    async def _begin(self, call: Any) -> None:
        """Say what has to be said on a new stream."""
        if not self._batch:
            await self._submit(call)
        elif not self._durable:
            resend = self._defect != "resend"
            await self._submit(call, resend=resend)
        elif self._defect == "forgets":
            await self._leave(call, b"")
        else:
            await self._write(call, subscribe=[self._run_id])

    async def _submit(self, call: Any, *, resend: bool | None = None) -> None:
        if resend is None:
            self._batch += 1
        elif self._defect == "id":
            self._run_id = new_id(2)
        text = arguments(3, 4, 5) if self._defect == "arguments" else arguments(3, 4)
        batch = sp.SubmitBatch(number=self._batch, resend=bool(resend))
        batch.groups.add(template=1, run_ids=[self._run_id], args=[text])
        if self._defect != "template" or resend is None:
            batch.templates.append(tp.TemplateDefinition(index=1, template=template_of("kit.add")))
        await self._write(call, submit=batch)

    async def _leave(self, call: Any, value: bytes) -> float:
        self.values.append(value)
        if self._defect != "silent":
            await self._write(call, goodbye=True)
        self._left = True  # nothing is written any more
        await call.done_writing()
        with suppress(aio.AioRpcError):
            while await call.read() is not aio.EOF:
                pass
        return 0.0

    async def _beat(self, call: Any, interval: float) -> None:
        with suppress(aio.AioRpcError, asyncio.InvalidStateError):
            while not self._left:
                await self._write(call, heartbeat=True)
                await asyncio.sleep(interval)

    async def _write(self, call: Any, **parts: Any) -> None:
        async with self._writing:  # gRPC takes one at a time
            if not self._left:
                await call.write(sp.ClientFrame(**parts))

    def _hello(self) -> sp.SessionHello:
        again = self._streams > 1
        return sp.SessionHello(
            protocol_min=2,
            protocol_max=2,
            session_id=new_id() if self._defect == "session" and again else self._session_id,
            stream_number=1 if self._defect == "number" else self._streams,
        )


SCRIPTS = {
    name: scenario.script
    for name, scenario in SCENARIOS.items()
    if name.startswith("session-") and name != "session-unauthenticated"
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_client_with_a_session_that_keeps_the_contract(name: str):
    client = Client()
    assert asyncio.run(verdict(SCRIPTS[name], client)) == ""
    assert len(client.values) == 1


@pytest.mark.parametrize(
    ("name", "defect", "wrong"),
    [
        ("submit", "arguments", r'args\["args"\]'),
        ("submit", "twice", "is submitted in two batches"),
        ("submit", "silent", "ended its stream before there was goodbye"),
        ("overloaded", "early", "submitted the run again after .* told to wait"),
        ("crowded", "early", "opened another stream after .* told to wait"),
        ("restart", "early", "came back after .* told to wait"),
        ("resume", "session", "hello.session_id of a later stream"),
        ("resume", "number", "stream_number 1 comes after 1"),
        ("resume", "resend", "does not say so"),
        ("resume", "id", "what batch 1 has when it comes again"),
        ("resume", "template", "names a template this stream has not sent"),
        ("resume", "forgets", "before there was subscription to a run"),
    ],
)
def test_a_client_with_a_session_that_does_not(name: str, defect: str, wrong: str):
    assert re.search(wrong, asyncio.run(verdict(SCRIPTS[f"session-{name}"], Client(defect))))


def test_a_client_that_is_not_let_in_and_comes_back():
    async def script(plane: Plane) -> None:
        await sessions.unauthenticated(plane)
        assert await plane.unexpected() == "SessionService.Connect"

    assert asyncio.run(verdict(script, Client())) == "SessionService.Connect"
