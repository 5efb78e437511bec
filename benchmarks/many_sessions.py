"""A process with many client sessions, each of which submits small runs and waits for them, again and again.

`python -m benchmarks.many_sessions ADDRESS SESSIONS AT_ONCE ROUNDS`: in each round every session submits so
many runs of a task by its name, and waits for all of them. It says when all sessions are open, begins at
SIGUSR1, says when all rounds are done, and stays connected until it is terminated.
"""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc.aio

from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_api.v1 import session_service_pb2_grpc, states_pb2, template_pb2
from taskyard_contract.id_factory import new_id, new_ids

CONNECTED: Final = "sessions connected"
DONE: Final = "sessions done"
TASK: Final = "nothing"
_OPTIONS: Final = [("grpc.max_receive_message_length", 64 << 20), ("grpc.use_local_subchannel_pool", 1)]


class OneSession:
    """A session on a connection of its own, as a process of its own would have it."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        self._frames: asyncio.Queue[pb.ClientFrame] = asyncio.Queue()
        self._number = 0
        stub: Any = session_service_pb2_grpc.SessionServiceStub(self._channel)
        hello = pb.SessionHello(
            protocol_min=2, protocol_max=2, session_id=new_id(), client_name="bench", says_ends=True
        )
        self._frames.put_nowait(pb.ClientFrame(hello=hello))
        self._call = stub.Connect(self._sent())
        self._beating: asyncio.Task[None] | None = None

    async def _sent(self) -> AsyncIterator[pb.ClientFrame]:
        while True:
            yield await self._frames.get()

    async def opened(self) -> None:
        """Wait for the welcome."""
        welcome = (await self._call.read()).welcome
        self._beating = asyncio.create_task(self._beat(welcome.heartbeat_ms / 1_000))

    async def _beat(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            self._frames.put_nowait(pb.ClientFrame(heartbeat=True))

    async def rounds(self, at_once: int, rounds: int) -> None:
        """Submit runs and wait for them, so many times.

        Raises:
            RuntimeError: One did not complete.
        """
        for _ in range(rounds):
            run_ids = new_ids(at_once)
            self._frames.put_nowait(pb.ClientFrame(submit=self._batch(run_ids)))
            waiting = set(run_ids)
            while waiting:
                frame = await self._call.read()
                if frame is grpc.aio.EOF or frame.refused:
                    raise RuntimeError(f"runs were not taken: {frame}")
                waiting.difference_update(frame.results.run_ids)
                for outcome in frame.results.others:
                    if outcome.state != states_pb2.RUN_STATE_COMPLETED:
                        raise RuntimeError(f"a run did not complete: {outcome}")
                    waiting.discard(outcome.run_id)

    def _batch(self, run_ids: list[bytes]) -> pb.SubmitBatch:
        self._number += 1
        batch = pb.SubmitBatch(number=self._number, groups=[pb.RunGroup(template=1, run_ids=run_ids)])
        if self._number == 1:
            batch.templates.add(index=1, template=template())
        return batch


def template() -> template_pb2.RunTemplate:
    """Return the template of the task, which any agent executes that serves it by its name."""
    return template_pb2.RunTemplate(
        kind=states_pb2.RUN_KIND_TASK, name=TASK, task_key=TASK, queue="default", encoding="json/plain",
        code=template_pb2.Code(task_name=TASK),
    )  # fmt: skip


async def main(address: str, sessions: int, at_once: int, rounds: int) -> None:
    """Open the sessions, go through the rounds when told to, and stay."""
    begin = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, begin.set)
    opened = [OneSession(address) for _ in range(sessions)]
    await asyncio.gather(*(each.opened() for each in opened))
    print(CONNECTED, flush=True)
    await begin.wait()
    await asyncio.gather(*(each.rounds(at_once, rounds) for each in opened))
    print(DONE, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:])))
