"""Executors under contract: each is a `LinkHandler` behind a session without a stream."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from support.agent_process import TESTS
from support.task_codes import COMMANDS

from taskyard_agent.holding.admission import MOST_WAITING
from taskyard_agent.holding.blob_store import BlobStore
from taskyard_agent.processes.pool import ProcessPool
from taskyard_agent.processes.workforce import Workforce
from taskyard_agent.processes.zygote_client import ZygoteClient
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import template_pb2
from taskyard_contract.agent_link import Identity, LinkHandler, LinkSession
from taskyard_contract.id_factory import new_ids
from taskyard_contract.ids import split_ids


class Bench:
    """An executor, and everything it told its session."""

    def __init__(self, handler: LinkHandler, session: LinkSession) -> None:
        self.handler = handler
        self.reported: list[bytes] = []
        self.cancelled: list[bytes] = []
        self.lost: list[bytes] = []
        self.given_back: list[bytes] = []
        self.started: list[bytes] = []
        self._session = session
        self._changed = asyncio.Event()
        self._epoch = 1
        template = template_pb2.RunTemplate(name="task", encoding="python/pickle5")
        template.code.blob_digest = b"d" * 32
        self._definition = template_pb2.TemplateDefinition(index=1, template=template, code=COMMANDS)
        session.wake = self._changed.set
        session.hello(0.0)
        welcome = pb.AgentWelcome(lease_ms=30_000, heartbeat_ms=5_000)
        session.welcomed(pb.ServerFrame(welcome=welcome, templates=[self._definition]))

    def assign(self, calls: list[bytes], **fields: Any) -> list[pb.RunKey]:
        ids = new_ids(len(calls))
        keys = [pb.RunKey(run_id=run_id, epoch=self._epoch + at) for at, run_id in enumerate(ids)]
        body = pb.ChunkBody(args=calls, ordinals=range(len(calls))).SerializeToString()
        chunk = pb.AssignChunk(
            first_epoch=self._epoch, template=1, run_ids=b"".join(ids), body=body, **fields
        )
        self._epoch += len(calls)
        self._session.received(pb.ServerFrame(chunks=[chunk]), 0.0)
        return keys

    def held(self) -> set[bytes]:
        return {key.run_id for key in self.handler.held()}

    def ended(self) -> list[bytes]:
        return self.reported + self.cancelled + self.lost + self.given_back

    async def until(self, condition: Callable[[], bool], timeout: float = 40.0) -> None:
        async with asyncio.timeout(timeout):
            self._read_frames()
            while not condition():
                self._changed.clear()
                await self._changed.wait()
                self._read_frames()

    def _read_frames(self) -> None:
        while (frame := self._session.next_frame()) is not None:
            for chunk in frame.reports:
                self.reported += split_ids(chunk.run_ids)
            self.cancelled += [key.run_id for key in frame.cancelled]
            self.started += [started.key.run_id for started in frame.started]
            self.lost += [lost.key.run_id for lost in frame.lost]
            self.given_back += [key.run_id for key in frame.given_back]


def _identity() -> Identity:
    return Identity("bench", b"s" * 16, "bench", ("default",), 2)


@asynccontextmanager
async def _process_pool(path: Path, most_waiting: int = MOST_WAITING) -> AsyncIterator[Bench]:
    environment = {"PYTHONPATH": str(TESTS)}
    workforce = Workforce(2, lambda: ZygoteClient(path / "blobs", (), environment), most_waiting=most_waiting)
    pool = ProcessPool(2, workforce, BlobStore(path / "blobs", lambda: "127.0.0.1:1", 1 << 30), lambda: None)
    session = LinkSession(_identity(), pool)
    pool.serve(session)
    try:
        yield Bench(pool, session)
    finally:
        pool.close()


Executor = Callable[[Path], AbstractAsyncContextManager[Bench]]


@pytest.fixture(params=[_process_pool], ids=["processes"])
def executor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    # pytest's stand-in has no descriptor, and workers write to the agent's stderr.
    monkeypatch.setattr(sys, "stderr", sys.__stderr__)
    return request.param
