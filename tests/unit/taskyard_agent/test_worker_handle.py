"""The agent's end of a worker's sockets: order, templates, and what a slow worker does not read at once."""

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support.agent_process import eventually
from support.fake_workers import FarEnd

from taskyard_agent.holding.chunks import Chunk, Span
from taskyard_agent.holding.templates import LocalTemplate
from taskyard_agent.processes.lines import WorkerLines
from taskyard_agent.processes.worker_handle import WorkerHandle
from taskyard_agent.processes.worker_phase import WorkerEvent
from taskyard_agent.runner import frames
from taskyard_api.v1 import template_pb2


@contextmanager
def ends() -> Iterator[tuple[WorkerHandle, FarEnd]]:
    lines = WorkerLines()
    worker = WorkerHandle(1, lines, asyncio.get_running_loop())
    worker.apply(WorkerEvent.READY)
    far = FarEnd(lines)
    try:
        yield worker, far
    finally:
        worker.close()
        far.close()


def play(scenario: Callable[[WorkerHandle, FarEnd], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        with ends() as (worker, far):
            await scenario(worker, far)

    asyncio.run(main())


def span(template: int, runs: int = 1) -> Span:
    local = LocalTemplate(template, template_pb2.TemplateDefinition())
    return Chunk(local, 1, b"r" * 16 * runs, b"").whole()


def test_frames_arrive_whole_and_in_order_however_slowly_they_are_read() -> None:
    async def scenario(worker: WorkerHandle, far: FarEnd) -> None:
        sent = [(kind, bytes([kind]) * size) for kind, size in ((1, 3_000_000), (2, 5), (3, 1_000_000))]
        for kind, body in sent:
            worker.send(frames.pack(kind, body))
        received: list[tuple[int, bytes]] = []

        def complete() -> bool:
            received.extend(far.received())
            return len(received) == 3

        await eventually(complete)
        assert received == sent

    play(scenario)


def test_a_worker_that_has_read_everything_costs_nothing() -> None:
    async def scenario(worker: WorkerHandle, far: FarEnd) -> None:
        loop: Any = asyncio.get_running_loop()
        add, remove, watched = loop.add_writer, loop.remove_writer, set()

        def watch(end: socket.socket, *callback: Any) -> None:
            watched.add(end)
            add(end, *callback)

        def forget(end: socket.socket) -> None:
            watched.discard(end)
            remove(end)

        loop.add_writer, loop.remove_writer = watch, forget
        worker.send(frames.pack(1, b"x" * 1_000_000))
        assert watched
        await eventually(lambda: bool(far.received()))
        await eventually(lambda: not worker.unsent)
        assert not watched, "or the loop would call it again and again"

    play(scenario)


def test_a_template_is_told_once_and_again_after_all_were_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskyard_agent.processes.worker_handle.MAX_TEMPLATES", 2)

    async def scenario(worker: WorkerHandle, far: FarEnd) -> None:
        told: list[int] = []
        for number, template in enumerate((1, 1, 2, 3, 3, 1)):
            worker.give(number, span(template))
            told += [kind for kind, _ in far.received() if kind != frames.CHUNK]
        assert told == [frames.TEMPLATE, frames.TEMPLATE, frames.FORGET, frames.TEMPLATE, frames.TEMPLATE]

    play(scenario)


def test_only_runs_that_it_has_to_report_are_executing() -> None:
    async def scenario(worker: WorkerHandle, far: FarEnd) -> None:
        given = span(1, runs=3)
        worker.give(7, given)
        assert worker.executing() is None
        seen = []
        for number, position in ((7, 1), (7, 2), (8, 1)):
            far.execute(number, position)
            given.start, given.stop = 1, 2
            executing = worker.executing()
            seen.append(None if executing is None else executing[2].position)
        assert seen == [1, None, None], "taken back, and unknown"

    play(scenario)


def test_a_request_that_could_not_be_made_can_be_repeated() -> None:
    async def scenario(worker: WorkerHandle, far: FarEnd) -> None:
        worker.give(7, span(1))
        while worker.poke():  # until the socket is full
            continue
        worker.revoke(7)
        assert not worker.revoking
        far.asked_back()
        worker.revoke(7)
        assert far.asked_back() == [7]

    play(scenario)
