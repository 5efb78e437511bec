"""Which worker executes whose runs: one of the program, an unused one, or one in the place of another."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from support.agent_process import eventually
from support.fake_workers import FakeZygote

from taskyard_agent.holding.chunks import Chunk
from taskyard_agent.holding.templates import LocalTemplate
from taskyard_agent.holding.worlds import GivenWorld, Interpreter
from taskyard_agent.processes import staff as staff_module
from taskyard_agent.processes import workforce as workforce_module
from taskyard_agent.processes.staff import Staff
from taskyard_agent.processes.worker_handle import WorkerHandle
from taskyard_agent.processes.worker_phase import LEFT, WorkerPhase
from taskyard_agent.processes.workforce import Workforce
from taskyard_agent.runner import frames
from taskyard_api.v1 import template_pb2
from taskyard_contract.world import facts
from taskyard_contract.world.facts import MainFacts, WorldFacts

Scenario = Callable[["Stage"], Coroutine[Any, Any, None]]
OTHER = Interpreter("/other/python", "/other", (), (), ())


class Stage:
    """A workforce whose zygotes are held by the test, and what chooses among its workers."""

    def __init__(self, size: int) -> None:
        self.zygote = FakeZygote()
        self.others: list[FakeZygote] = []
        self.error: OSError | None = None
        self.workforce = Workforce(size, self._start, start_other=self._start_other)  # type: ignore[arg-type]
        self.workforce.attach(self)
        self.staff = Staff(self.workforce)
        self._numbers = iter(range(1, 1000))
        self.workforce.fit()

    def _start(self) -> FakeZygote:
        return self.zygote

    def _start_other(self, interpreter: Interpreter) -> FakeZygote:
        if self.error is not None:
            raise self.error
        self.others.append(FakeZygote())
        return self.others[-1]

    async def ready(self) -> None:
        """Have all workers that are starting be ready."""
        for zygote in (self.zygote, *self.others):
            for number, far in zygote.far.items():
                worker = self.workforce.workers.get(number)
                if worker is not None and worker.phase is WorkerPhase.STARTING:
                    far.ready()
        workers = self.workforce.workers.values()
        await eventually(lambda: all(one.phase is not WorkerPhase.STARTING for one in workers))

    def worker_for(self, world: GivenWorld | None) -> WorkerHandle | None:
        return self.staff.worker_for(world, 0)

    def give(self, worker: WorkerHandle | None, world: GivenWorld | None) -> int:
        """Give a worker a run of a world; returns the number of what it was given."""
        assert worker is not None
        number = next(self._numbers)
        template = LocalTemplate(1, template_pb2.TemplateDefinition(), world)
        worker.give(number, Chunk(template, 1, b"r" * 16, b"").whole())
        self.staff.given(worker)
        return number

    def run(self, world: GivenWorld | None) -> WorkerHandle:
        """Have a run of a world begin and end."""
        worker = self.worker_for(world)
        number = self.give(worker, world)
        assert worker is not None
        worker.reported(number, 0, 1)
        return worker

    def phases(self) -> list[WorkerPhase]:
        return sorted(one.phase for one in self.workforce.workers.values())

    def on_frame(self, worker: WorkerHandle, kind: int, body: bytes) -> None:
        """Nothing is said."""

    def on_output(self, *_: Any) -> None: ...

    def on_last_output(self, *_: Any) -> None: ...

    def on_revoked(self, worker: WorkerHandle, number: int, first: int) -> None:
        """Nothing is asked back."""

    def on_exit(self, worker: WorkerHandle, status: int | None) -> None:
        """Nobody is told."""

    def dispatch(self) -> None:
        """Nothing is queued."""


def play(scenario: Scenario, size: int = 2) -> None:
    async def main() -> None:
        stage = Stage(size)
        try:
            await stage.ready()
            await scenario(stage)
        finally:
            stage.workforce.close()

    asyncio.run(main())


def world(name: bytes, interpreter: Interpreter | None = None, alive: bool = True) -> GivenWorld:
    known = WorldFacts(
        *("python", "cpython-3.11", "/", [], [], [], "/", {}, [], MainFacts(), {}, "machine", os.getpid()),
        started=facts.started_at(os.getpid()) if alive else "never",
    )
    return GivenWorld(template_pb2.World(id=name, revision=1), "", known, interpreter)


A, B, C = world(b"a"), world(b"b"), world(b"c")


def test_a_worker_belongs_to_the_first_program_whose_runs_it_executes() -> None:
    async def scenario(stage: Stage) -> None:
        first = stage.run(A)
        assert first.place == b"a"
        assert stage.run(A) is first
        assert stage.run(B) is not first

    play(scenario)


def test_a_busy_program_gets_the_unused_workers_and_no_others() -> None:
    async def scenario(stage: Stage) -> None:
        stage.give(stage.worker_for(A), A)
        second = stage.worker_for(A)
        stage.give(second, A)
        assert stage.worker_for(A) is None

    play(scenario)


def test_runs_without_a_world_have_workers_of_their_own() -> None:
    async def scenario(stage: Stage) -> None:
        nowhere = stage.run(None)
        assert stage.run(A) is not nowhere
        assert stage.run(None) is nowhere

    play(scenario)


def test_one_unused_worker_is_kept_for_the_next_program() -> None:
    async def scenario(stage: Stage) -> None:
        stage.give(stage.worker_for(A), A)
        stage.give(stage.worker_for(A), A)
        await stage.ready()
        spare = [one for one in stage.workforce.workers.values() if one.place is None]
        assert [one.phase for one in spare] == [WorkerPhase.RESTING]
        assert stage.workforce.at_work() == 2

    play(scenario)


def test_an_idle_worker_of_another_program_rests_and_the_spare_one_takes_its_place() -> None:
    async def scenario(stage: Stage) -> None:
        first = stage.run(A)
        await stage.ready()
        spare = next(one for one in stage.workforce.workers.values() if one.place is None)
        second = stage.worker_for(B)
        assert second is spare
        stage.give(second, B)
        assert (first.phase, spare.phase) == (WorkerPhase.RESTING, WorkerPhase.BUSY)
        await stage.ready()
        assert stage.workforce.at_work() == 1

    play(scenario, size=1)


def test_a_program_gets_the_worker_back_that_rests_for_it() -> None:
    async def scenario(stage: Stage) -> None:
        first = stage.run(A)
        await stage.ready()
        second = stage.run(B)
        await stage.ready()
        assert stage.run(A) is first
        assert second.phase is WorkerPhase.RESTING
        assert stage.workforce.at_work() == 1

    play(scenario, size=1)


def test_without_an_unused_worker_one_is_forked_and_no_second_one() -> None:
    async def scenario(stage: Stage) -> None:
        stage.run(A)
        before = set(stage.workforce.workers)
        assert stage.worker_for(B) is None, "the spare one is starting"
        assert stage.worker_for(B) is None
        assert set(stage.workforce.workers) == before
        await stage.ready()
        assert stage.worker_for(B) is not None

    play(scenario, size=1)


def test_busy_workers_of_other_programs_are_left_alone() -> None:
    async def scenario(stage: Stage) -> None:
        stage.give(stage.worker_for(A), A)
        await stage.ready()
        assert stage.worker_for(B) is None
        assert stage.workforce.at_work() == 1

    play(scenario, size=1)


def test_another_interpreter_has_a_zygote_of_its_own_which_ends_when_it_is_unused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(staff_module, "LOOK_SECONDS", 0.0)
    other = world(b"o", OTHER, alive=False)

    async def scenario(stage: Stage) -> None:
        assert stage.worker_for(other) is None
        assert len(stage.others) == 1
        await stage.ready()
        worker = stage.worker_for(other)
        number = stage.give(worker, other)
        assert worker is not None
        assert worker.interpreter == OTHER
        worker.reported(number, 0, 1)
        await eventually(lambda: worker.phase in LEFT)
        stage.others[0].exited(worker.number, 0)
        stage.staff._look()
        assert stage.others[0].closed

    play(scenario, size=1)


def test_workers_of_a_program_that_has_ended_go_when_they_have_no_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(staff_module, "LOOK_SECONDS", 0.0)
    ended = world(b"e", alive=False)

    async def scenario(stage: Stage) -> None:
        working, living = stage.worker_for(ended), None
        number = stage.give(working, ended)
        living = stage.run(A)
        assert working is not None
        await asyncio.sleep(0)
        stage.staff._look()
        assert working.phase is WorkerPhase.BUSY
        working.reported(number, 0, 1)
        await eventually(lambda: working.phase in LEFT)
        assert living.phase not in LEFT

    play(scenario)


def test_an_interpreter_that_cannot_be_started_is_said_to_the_runs_of_its_programs() -> None:
    other = world(b"o", OTHER)

    async def scenario(stage: Stage) -> None:
        stage.error = FileNotFoundError(2, "No such file or directory")
        assert stage.worker_for(other) is None
        await stage.ready()
        stage.workforce.fit()
        await stage.ready()
        await eventually(lambda: stage.worker_for(other) is not None)
        worker = stage.worker_for(other)
        assert worker is not None
        assert "/other/python (No such file or directory)" in other.trouble
        far = stage.zygote.far[worker.number]
        far.received()
        stage.give(worker, other)
        said = dict(far.received())
        assert said[frames.NO_WORLD].decode() == other.trouble

    play(scenario, size=1)


def test_an_interpreter_that_did_not_start_is_tried_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workforce_module, "TROUBLE_SECONDS", 0.05)

    async def scenario(stage: Stage) -> None:
        stage.error = FileNotFoundError(2, "No such file or directory")
        first = world(b"o", OTHER)
        stage.worker_for(first)
        assert OTHER in stage.workforce.troubles
        await eventually(lambda: OTHER not in stage.workforce.troubles)
        stage.error = None  # its environment has been made again
        await stage.ready()
        later = world(b"p", OTHER)
        await eventually(lambda: stage.worker_for(later) is not None or bool(stage.others))
        assert not later.trouble

    play(scenario, size=1)


def test_workers_of_programs_elsewhere_go_when_the_server_says_that_these_have_ended() -> None:
    async def scenario(stage: Stage) -> None:
        far = GivenWorld(template_pb2.World(id=b"f", revision=1), "", None, None)
        worker = stage.run(far)
        stage.staff._look()
        assert worker.phase not in LEFT
        far.unsure = True
        far.unsure = False  # runs have come
        stage.staff._look()
        assert worker.phase not in LEFT
        far.ended = True
        stage.staff._look()
        assert worker.phase in LEFT

    play(scenario)
