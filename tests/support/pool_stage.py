"""A pool of one slot, everything around which is made up: zygote, workers, blobs and session."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from support.agent_process import eventually
from support.fake_workers import FakeBlobs, FakeZygote, FarEnd, ToldSession

from taskyard_agent.processes.pool import ProcessPool
from taskyard_agent.processes.worker_handle import WorkerHandle
from taskyard_agent.processes.worker_phase import WorkerPhase
from taskyard_agent.processes.workforce import Workforce
from taskyard_agent.runner import frames
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import template_pb2
from taskyard_contract.id_factory import new_ids

DIGEST = b"d" * 32
"""The blob that chunks need which need one."""
Scenario = Callable[["Stage"], Coroutine[Any, Any, None]]


class Stage:
    """The pool, and what a test does to it."""

    def __init__(self) -> None:
        self.zygote, self.blobs, self.told = FakeZygote(), FakeBlobs(), ToldSession()
        self.workforce = Workforce(1, lambda: self.zygote)  # type: ignore[arg-type, return-value]
        self.left: list[bool] = []
        self.pool = ProcessPool(1, self.workforce, self.blobs, lambda: self.left.append(True))  # type: ignore[arg-type]
        self.free_bytes = 1 << 40
        self.pool.room._space = lambda _: (self.free_bytes, 1 << 40)
        self.pool.serve(self.told)  # type: ignore[arg-type]
        self._epoch = 1
        self._caller = b""
        self.again: list[bytes] = []
        """Ids of the runs that are assigned next, when they were before."""

    def assign(
        self,
        count: int,
        template: int = 1,
        nested: bool = False,
        blobs: bool = False,
        heartbeat_timeout_ms: int = 0,
        **template_fields: Any,
    ) -> list[pb.RunKey]:
        ids = self.again or new_ids(count)
        body = pb.ChunkBody(args=[b""] * count, ordinals=range(count)).SerializeToString()
        chunk = pb.AssignChunk(
            first_epoch=self._epoch, template=template, run_ids=b"".join(ids), body=body, nested=nested
        )
        chunk.caller_run_id = self._caller
        if blobs:
            chunk.blobs.add(digest=DIGEST)
        keys = [pb.RunKey(run_id=run_id, epoch=self._epoch + at) for at, run_id in enumerate(ids)]
        self._epoch += count
        one = template_pb2.RunTemplate(
            name=f"task {template}", heartbeat_timeout_ms=heartbeat_timeout_ms, **template_fields
        )
        self.pool.on_assign(chunk, template_pb2.TemplateDefinition(index=template, template=one))
        return keys

    def nest(self, caller: pb.RunKey, **template_fields: Any) -> pb.RunKey:
        """Assign a run that another one has submitted."""
        self._caller = caller.run_id
        [key] = self.assign(1, nested=True, **template_fields)
        self._caller = b""
        return key

    def assign_again(self, key: pb.RunKey, **template_fields: Any) -> None:
        """Assign a run once more, under another epoch."""
        self.again = [key.run_id]
        self.assign(1, **template_fields)
        self.again = []

    def look_at_disk(self) -> None:
        """Look whether there is room, as is done each second while there was none."""
        self.pool.room._look()

    def in_hand(self) -> tuple[int, int]:
        """The runs counted, and the runs named."""
        return self.pool.demand().in_hand, len(list(self.pool.held()))

    async def ready(self, number: int = 1) -> FarEnd:
        far = self.zygote.far[number]
        far.ready()
        await eventually(lambda: self.worker(number).phase is not WorkerPhase.STARTING)
        return far

    def worker(self, number: int = 1) -> WorkerHandle:
        return self.workforce.workers[number]

    async def crowd(self) -> list[pb.RunKey]:
        """Have so many runs wait for others that nothing new is wanted; returns them."""
        waiting = []
        for number in (1, 2):
            far = await self.ready(number)
            waiting += self.assign(1)
            await eventually(lambda number=number: bool(self.worker(number).spans))  # type: ignore[misc]
            far.blocked()
            await eventually(lambda number=number: self.worker(number).blocked)  # type: ignore[misc]
        return waiting

    async def given(self, far: FarEnd) -> tuple[int, int, int]:
        """Number, first and end position of the one chunk that a worker got."""
        [body] = [body for kind, body in far.received() if kind == frames.CHUNK]
        number, _, _, start, stop, _ = frames.CHUNK_HEAD.unpack_from(body)
        return number, start, stop


def play(scenario: Scenario) -> None:
    async def main() -> None:
        stage = Stage()
        try:
            await scenario(stage)
        finally:
            stage.pool.close()

    asyncio.run(main())


def ids(keys: list[pb.RunKey]) -> list[bytes]:
    """The runs' ids."""
    return [key.run_id for key in keys]
