"""As many workers at work as there should be, whatever happens to them."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from support.agent_process import eventually
from support.fake_workers import FakeZygote

from taskyard_agent.processes.worker_handle import Worker
from taskyard_agent.processes.workforce import REST_SECONDS, Crew
from taskyard_agent.runner import frames

Scenario = Callable[["Stage"], Coroutine[Any, Any, None]]


class Stage:
    """A crew, what it tells, and the delays it asks its loop for; those pass at once."""

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
        self.crew = Crew(self._size, self._start_zygote)  # type: ignore[arg-type]
        self.crew.attach(self)
        self.crew.fit()

    def _start_zygote(self) -> FakeZygote:
        self.zygotes.append(FakeZygote())
        return self.zygotes[-1]

    @property
    def zygote(self) -> FakeZygote:
        return self.zygotes[-1]

    async def make_ready(self, *numbers: int) -> None:
        for number in numbers:
            self.zygote.far[number].ready()
        await eventually(lambda: all(self.crew.workers[number].ready for number in numbers))

    # What a crew tells.

    def on_frame(self, worker: Worker, kind: int, body: bytes) -> None:
        self.kinds.append(kind)
        worker.ready = worker.ready or kind == frames.READY

    def on_revoked(self, worker: Worker, number: int, first: int) -> None:
        """Nothing is given."""

    def on_exit(self, worker: Worker, status: int | None) -> None:
        self.exits.append((worker.number, status))

    def dispatch(self) -> None:
        """Nothing is queued."""


def play(scenario: Scenario, size: int = 1) -> None:
    async def main() -> None:
        stage = Stage(size)
        stage.start()
        try:
            await scenario(stage)
        finally:
            stage.crew.close()

    asyncio.run(main())


def test_a_worker_that_could_not_be_asked_for_is_asked_for_again() -> None:
    async def scenario(stage: Stage) -> None:
        stage.zygote.refusals = 1
        stage.zygote.exited(1, 0)
        await eventually(lambda: len(stage.crew.workers) == 1)
        assert stage.zygote.refusals == 0

    play(scenario)


def test_workers_that_die_before_they_are_ready_are_replaced_less_and_less_often() -> None:
    async def scenario(stage: Stage) -> None:
        for number in (1, 2):
            stage.zygote.exited(number, 0)
            assert not stage.crew.workers, "not at once"
            await eventually(lambda number=number: number + 1 in stage.crew.workers)
        assert stage.delays == [0.2, 0.4]
        await stage.make_ready(3)
        stage.zygote.exited(3, 0)
        assert list(stage.crew.workers) == [4], "one that had been ready is replaced at once"
        stage.zygote.exited(4, 0)
        assert stage.delays[2:] == [0.2], "and what came before is forgotten"

    play(scenario)


def test_what_a_worker_said_last_is_heard() -> None:
    async def scenario(stage: Stage) -> None:
        far = stage.zygote.far[1]
        far.ready()
        far.report(1, 0, 1)
        stage.zygote.exited(1, 0)
        assert stage.kinds == [frames.READY, frames.REPORT]
        assert stage.exits == [(1, 0)]

    play(scenario)


def test_another_zygote_takes_the_place_of_one_that_died() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.make_ready(1, 2)
        old = stage.zygote
        old.gone()
        assert old.closed
        assert stage.exits == [(1, None), (2, None)]
        await eventually(lambda: len(stage.crew.workers) == 2)
        assert (len(stage.zygotes), sorted(stage.zygote.far)) == (2, [3, 4])
        assert stage.delays == [0.2]

    play(scenario, size=2)


def test_only_workers_without_runs_rest_and_others_as_soon_as_they_have_none() -> None:
    async def scenario(stage: Stage) -> None:
        crew = stage.crew
        await stage.make_ready(1)
        one = crew.workers[1]
        one.blocked = True
        crew.fit()
        await stage.make_ready(2)
        other = crew.workers[2]
        one.blocked = False
        one.pieces, other.pieces = {1: object()}, {2: object()}  # type: ignore[dict-item]
        crew.fit()
        assert (one.resting, other.resting) == (False, False)
        one.pieces.clear()
        stage.zygote.far[1].report(1, 0, 1)
        await eventually(lambda: one.resting)
        assert not other.resting

    play(scenario)


def test_a_worker_rests_for_a_while_before_it_goes() -> None:
    async def scenario(stage: Stage) -> None:
        crew, loop = stage.crew, asyncio.get_running_loop()
        await stage.make_ready(1)
        crew.workers[1].blocked = True
        crew.fit()
        await stage.make_ready(2)
        crew.workers[1].blocked = False
        crew.fit()
        resting = next(worker for worker in crew.workers.values() if worker.resting)
        crew._retire()
        assert not resting.retiring
        resting.rests_since = loop.time() - REST_SECONDS
        crew._retire()
        assert resting.retiring

    play(scenario)


@pytest.mark.parametrize("how", ["ending", "retiring"])
def test_a_worker_on_its_way_out_is_replaced_at_once(how: str) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.make_ready(1)
        setattr(stage.crew.workers[1], how, object())
        stage.crew.fit()
        assert sorted(stage.crew.workers) == [1, 2]

    play(scenario)
