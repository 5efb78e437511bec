"""An agent on a machine at its limits, and workers that die in mid-sentence."""

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from support.agent_process import eventually

from taskyard_agent.holding.blob_store import BlobStore
from taskyard_agent.holding.chunks import Chunk
from taskyard_agent.holding.templates import LocalTemplate
from taskyard_agent.processes.lines import WorkerLines
from taskyard_agent.processes.pool import ProcessPool
from taskyard_agent.processes.workforce import Workforce
from taskyard_agent.runner import frames, zygote
from taskyard_api.v1 import template_pb2
from taskyard_contract.agent_link import Identity, LinkSession
from taskyard_contract.blobs.names import result_name


class Silent:
    """Keeps the workers' ends."""

    def __init__(self) -> None:
        self.far: dict[int, socket.socket] = {}

    def listen(self, loop: Any, on_spawned: Any, on_exited: Any, on_gone: Any) -> None:
        self.exited = on_exited

    def spawn(self, number: int, lines: Any) -> bool:
        self.far[number] = lines.far_data
        lines.far_control.close()
        for descriptor in (lines.far_board, lines.far_output, lines.far_errors):
            os.close(descriptor)
        return True

    def close(self, *_: Any) -> None:
        for end in self.far.values():
            end.close()


class Heard:
    def __init__(self) -> None:
        self.frames: list[int] = []

    def on_frame(self, worker: Any, kind: int, body: bytes) -> None:
        self.frames.append(len(body))

    def on_output(self, *_: Any) -> None: ...

    def on_last_output(self, *_: Any) -> None: ...

    def on_revoked(self, *_: Any) -> None: ...

    def on_exit(self, *_: Any) -> None: ...

    def dispatch(self) -> None: ...


def test_what_a_dead_worker_had_sent_is_read_to_the_end() -> None:
    async def main() -> None:
        made, events = Silent(), Heard()
        workforce = Workforce(1, lambda: made)  # type: ignore[arg-type, return-value]
        workforce.attach(events)
        workforce.fit()
        far = made.far[1]
        far.setblocking(False)
        far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        frame = frames.pack(frames.REPORT, b"x" * 150_000)
        assert far.send(frame) == len(frame)
        far.close()
        made.exited(1, 0)
        workforce.close()
        assert events.frames == [150_000]

    asyncio.run(main())


def test_a_zygote_that_cannot_fork_does_not_take_the_workers_along(monkeypatch: pytest.MonkeyPatch) -> None:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with near, far:
        one = zygote.Zygote(far, Path("/nowhere"))

        def fork() -> int:
            raise BlockingIOError(11, "Resource temporarily unavailable")

        monkeypatch.setattr(os, "fork", fork)
        pair = socket.socketpair()
        socket.send_fds(near, [zygote.SPAWN.pack(7)], [pair[0].fileno(), pair[0].fileno(), pair[0].fileno()])
        assert one.answer()
        kind, number, _, _ = zygote.ANSWER.unpack(near.recv(zygote.ANSWER.size))
        assert (kind, number) == (zygote.EXITED, 7)
        for end in pair:
            end.close()


def test_a_zygote_that_cannot_be_started_is_tried_again() -> None:
    async def main() -> None:
        tries = 0

        def start() -> Any:
            nonlocal tries
            tries += 1
            if tries == 1:
                raise OSError(12, "Cannot allocate memory")
            return Silent()

        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        workforce = Workforce(1, start)
        workforce.attach(Heard())
        asyncio.get_running_loop().call_soon(workforce.fit)
        await eventually(lambda: tries == 2)
        workforce.close()

    asyncio.run(main())


def test_a_worker_for_which_there_are_no_descriptors_is_tried_again() -> None:
    async def main() -> None:
        tries = []

        def lines() -> Any:
            tries.append(1)
            if len(tries) == 1:
                raise OSError(24, "Too many open files")
            return WorkerLines()

        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        workforce = Workforce(1, lambda: Silent(), lines)  # type: ignore[arg-type, return-value]
        workforce.attach(Heard())
        asyncio.get_running_loop().call_soon(workforce.fit)
        await eventually(lambda: len(tries) == 2)
        workforce.close()

    asyncio.run(main())


def test_a_result_on_its_way_to_the_store_is_in_use(tmp_path: Path) -> None:
    async def main() -> None:
        blobs = BlobStore(tmp_path, lambda: "127.0.0.1:1", 1 << 30)
        workforce = Workforce(1, lambda: Silent())  # type: ignore[arg-type, return-value]
        pool = ProcessPool(1, workforce, blobs, lambda: None)
        pool.serve(LinkSession(Identity("a", b"s" * 16, "a", ("default",), 1), pool))
        chunk = Chunk(LocalTemplate(1, template_pb2.TemplateDefinition()), 1, b"r" * 16, b"")
        name = result_name(b"r" * 16, 1)
        pool.transfers.upload(pool.holdings.accept(chunk), frames.BLOB_ENTRY.pack(name.encode(), 5, 7), 1)
        in_use = set(blobs.in_use())
        pool.close()
        assert name in in_use

    asyncio.run(main())
