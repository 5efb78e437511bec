"""As many workers at work as there should be, whatever happens to them."""

import asyncio
import errno
import os
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from support.agent_process import eventually
from support.fake_workers import FakeZygote

from taskyard_agent.holding.chunks import Chunk, Span
from taskyard_agent.holding.templates import LocalTemplate
from taskyard_agent.processes.terminating import Ending, Why
from taskyard_agent.processes.worker_handle import WorkerHandle
from taskyard_agent.processes.worker_phase import WorkerPhase
from taskyard_agent.processes.workforce import Workforce
from taskyard_agent.runner import frames, progress_board
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import template_pb2

Scenario = Callable[["Stage"], Coroutine[Any, Any, None]]


class Stage:
    """A workforce, what it tells, and the delays it asks its loop for; those pass at once."""

    def __init__(self, size: int) -> None:
        self.zygotes: list[FakeZygote] = []
        self.kinds: list[int] = []
        self.exits: list[tuple[int, int | None]] = []
        self.delays: list[float] = []
        self._size = size

    def start(self) -> None:
        loop: Any = asyncio.get_running_loop()
        call_later = loop.call_later

        def sooner(delay: float, callback: Any, *args: Any) -> Any:
            if delay in (0.1, 0.2, 0.4, 0.8):
                self.delays.append(delay)
                delay = 0.0
            return call_later(delay, callback, *args)

        loop.call_later = sooner
        self.workforce = Workforce(self._size, self._start_zygote)  # type: ignore[arg-type]
        self.workforce.attach(self)
        self.workforce.fit()

    def _start_zygote(self) -> FakeZygote:
        self.zygotes.append(FakeZygote())
        return self.zygotes[-1]

    @property
    def zygote(self) -> FakeZygote:
        return self.zygotes[-1]

    async def make_ready(self, *numbers: int) -> None:
        for number in numbers:
            self.zygote.far[number].ready()
        await eventually(lambda: all(self.phase(number) is not WorkerPhase.STARTING for number in numbers))

    def phase(self, number: int) -> WorkerPhase:
        return self.workforce.workers[number].phase

    async def block(self, number: int) -> None:
        """Give a worker a run that waits for others."""
        self.workforce.workers[number].give(number, one_run())
        self.workforce.workers[number].blocked = True
        self.workforce.fit()

    def go_on(self, number: int) -> None:
        """Let the run of a worker that waits go on."""
        self.workforce.workers[number].blocked = False
        self.workforce.fit()

    # What a workforce tells.

    def on_frame(self, worker: WorkerHandle, kind: int, body: bytes) -> None:
        self.kinds.append(kind)
        if kind == frames.REPORT:
            worker.reported(*frames.REPORT_HEAD.unpack_from(body)[:2], 1)

    def on_output(self, *_: Any) -> None: ...

    def on_last_output(self, *_: Any) -> None: ...

    def on_revoked(self, worker: WorkerHandle, number: int, first: int) -> None:
        """Nothing is given."""

    def on_exit(self, worker: WorkerHandle, status: int | None) -> None:
        self.exits.append((worker.number, status))

    def dispatch(self) -> None:
        """Nothing is queued."""


def one_run() -> Span:
    return Chunk(LocalTemplate(1, template_pb2.TemplateDefinition()), 1, b"r" * 16, b"").whole()


def play(scenario: Scenario, size: int = 1, make: type[Stage] = Stage) -> None:
    async def main() -> None:
        stage = make(size)
        stage.start()
        try:
            await scenario(stage)
        finally:
            stage.workforce.close()

    asyncio.run(main())


def test_a_worker_that_could_not_be_asked_for_is_asked_for_again() -> None:
    async def scenario(stage: Stage) -> None:
        stage.zygote.refusals = 1
        stage.zygote.exited(1, 0)
        await eventually(lambda: len(stage.workforce.workers) == 1)
        assert stage.zygote.refusals == 0

    play(scenario)


def test_workers_that_die_before_they_are_ready_are_replaced_less_and_less_often() -> None:
    async def scenario(stage: Stage) -> None:
        for number in (1, 2):
            stage.zygote.exited(number, 0)
            assert not stage.workforce.workers, "not at once"
            await eventually(lambda number=number: number + 1 in stage.workforce.workers)
        assert stage.delays == [0.2, 0.4]
        await stage.make_ready(3)
        stage.zygote.exited(3, 0)
        assert list(stage.workforce.workers) == [4], "one that had been ready is replaced at once"
        stage.zygote.exited(4, 0)
        assert stage.delays[2:] == [0.2], "and what came before is forgotten"

    play(scenario)


def test_what_a_worker_said_last_is_heard() -> None:
    async def scenario(stage: Stage) -> None:
        far = stage.zygote.far[1]
        far.ready()
        far.report(1, 0, 1)
        stage.zygote.exited(1, 0)
        assert stage.kinds == [frames.REPORT]
        assert stage.exits == [(1, 0)]

    play(scenario)


def test_another_zygote_takes_the_place_of_one_that_died() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.make_ready(1, 2)
        old = stage.zygote
        old.gone()
        assert old.closed
        assert stage.exits == [(1, None), (2, None)]
        await eventually(lambda: len(stage.workforce.workers) == 2)
        assert (len(stage.zygotes), sorted(stage.zygote.far)) == (2, [3, 4])
        assert stage.delays == [0.2]

    play(scenario, size=2)


def test_workers_that_died_with_their_zygote_are_given_nothing_while_the_others_are_settled() -> None:
    available: list[bool] = []

    class Watching(Stage):
        def on_exit(self, worker: WorkerHandle, status: int | None) -> None:
            super().on_exit(worker, status)
            available.extend(each.available for each in self.workforce.workers.values())

    async def scenario(stage: Stage) -> None:
        await stage.make_ready(1, 2, 3)
        stage.zygote.gone()
        assert available == [False] * 3, "two were left when the first one was settled, then one"

    play(scenario, size=3, make=Watching)


def test_only_workers_without_runs_rest_and_others_as_soon_as_they_have_none() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.make_ready(1)
        await stage.block(1)
        await stage.make_ready(2)
        stage.workforce.workers[2].give(2, one_run())
        stage.go_on(1)
        assert (stage.phase(1), stage.phase(2)) == (WorkerPhase.BUSY, WorkerPhase.BUSY)
        stage.zygote.far[1].report(1, 0, 1)
        await eventually(lambda: stage.phase(1) is WorkerPhase.RESTING)
        assert stage.phase(2) is WorkerPhase.BUSY

    play(scenario)


def test_the_zygote_prepares_for_callers_once_after_the_first_substitute() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.make_ready(1)
        assert stage.zygote.prepared_before == 0, "nobody calls tasks yet"
        await stage.block(1)
        assert stage.zygote.prepared_before == 2, "the substitute had to wait for imports"

    play(scenario)


def test_a_worker_rests_for_a_while_before_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskyard_agent.processes.workforce.REST_SECONDS", 0.1)

    async def scenario(stage: Stage) -> None:
        loop = asyncio.get_running_loop()
        await stage.make_ready(1)
        await stage.block(1)
        await stage.make_ready(2)
        stage.go_on(1)
        assert stage.phase(2) is WorkerPhase.RESTING
        rests_since = loop.time()
        await eventually(lambda: stage.phase(2) is WorkerPhase.RETIRING)
        assert loop.time() - rests_since > 0.1
        stage.zygote.exited(2, 0)
        assert sorted(stage.workforce.workers) == [1], "nobody was needed in its place"

    play(scenario)


def test_a_worker_that_rests_is_woken_before_another_one_is_forked() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.make_ready(1)
        await stage.block(1)
        await stage.make_ready(2)
        stage.go_on(1)
        assert stage.phase(2) is WorkerPhase.RESTING
        stage.workforce.workers[1].blocked = True
        stage.workforce.fit()
        assert (stage.phase(2), sorted(stage.workforce.workers)) == (WorkerPhase.IDLE, [1, 2])

    play(scenario)


@pytest.mark.parametrize("fails", ["create", "BoardReader"])
def test_a_worker_for_which_the_machine_lacks_means_is_tried_again_and_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.make_ready(1)
        before = set(os.listdir("/proc/self/fd"))
        with monkeypatch.context() as patched:
            patched.setattr(progress_board, fails, _no_descriptor)
            await stage.block(1)
            assert sorted(stage.workforce.workers) == [1]
            assert set(os.listdir("/proc/self/fd")) == before
        await eventually(lambda: len(stage.workforce.workers) == 2)
        assert stage.delays == [0.2]

    play(scenario)


def _no_descriptor(*_: object) -> int:
    raise OSError(errno.EMFILE, "too many open files")


def test_a_worker_on_its_way_out_is_replaced_at_once() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.make_ready(1)
        worker = stage.workforce.workers[1]
        worker.give(1, one_run())
        worker.end(Ending(Why.CANCELLED, pb.RunKey()))
        stage.workforce.fit()
        assert sorted(stage.workforce.workers) == [1, 2]

    play(scenario)


def test_a_worker_that_retires_is_replaced_when_one_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskyard_agent.processes.workforce.REST_SECONDS", 0.01)

    async def scenario(stage: Stage) -> None:
        await stage.make_ready(1)
        await stage.block(1)
        await stage.make_ready(2)
        stage.go_on(1)
        await eventually(lambda: stage.phase(2) is WorkerPhase.RETIRING)
        stage.workforce.workers[1].blocked = True
        stage.workforce.fit()
        assert sorted(stage.workforce.workers) == [1, 2, 3]

    play(scenario)
