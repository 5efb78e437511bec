"""Who pays when a worker ends, and what becomes of everything else it had."""

import asyncio
import signal
from typing import Any, ClassVar

import pytest
from support.agent_process import eventually
from support.pool_stage import Stage, ids, play

from taskyard_agent.holding.chunks import Span
from taskyard_agent.processes import terminating
from taskyard_agent.processes.terminating import Ending, Why
from taskyard_agent.processes.worker_handle import WorkerHandle
from taskyard_agent.processes.worker_phase import WorkerPhase
from taskyard_api.v1 import agent_service_pb2 as pb


async def given(stage: Stage) -> tuple[WorkerHandle, int, Span, Any]:
    """The worker, the span it has got and its number, and the worker's end."""
    far = await stage.ready()
    worker = stage.worker()
    await eventually(lambda: bool(worker.spans))
    return worker, *next(iter(worker.spans.items())), far


def test_a_lost_lease_ends_what_executes_and_keeps_what_has_not_started() -> None:
    async def scenario(stage: Stage) -> None:
        keys = stage.assign(2)
        _, number, span, far = await given(stage)
        far.execute(number, span.start)
        stage.pool.on_doubt(True)
        stage.pool.on_lease_lost()
        assert stage.in_hand() == (2, 2), "its process is not gone yet, and will be told as lost when it is"
        stage.zygote.exited(1, 9)
        assert stage.told.lost_runs == ids(keys[:1])
        assert (stage.told.ended_runs, stage.told.given_back) == ([], [])
        assert ids(list(stage.pool.held())) == ids(keys[1:])
        assert span.strikes == 0, "the agent ended it"
        await stage.ready(2)
        assert not stage.worker(2).spans, "the server has not said yet whether it counts on it"
        stage.pool.on_doubt(False)
        assert stage.worker(2).spans

    play(scenario)


def test_a_run_that_is_dropped_while_its_lost_lease_ends_it_ends_in_silence() -> None:
    async def scenario(stage: Stage) -> None:
        keys = stage.assign(1)
        _, number, span, far = await given(stage)
        far.execute(number, span.start)
        stage.pool.on_lease_lost()
        stage.pool.on_drop(keys)
        assert stage.in_hand() == (1, 0), "its process is not gone yet, and no server is to count on it"
        stage.zygote.exited(1, 9)
        assert (stage.told.lost_runs, stage.told.ended_runs, stage.in_hand()) == ([], [], (0, 0))

    play(scenario)


def test_a_run_that_timed_out_just_before_its_lease_was_lost_has_timed_out() -> None:
    async def scenario(stage: Stage) -> None:
        [key] = stage.assign(1)
        worker, number, span, far = await given(stage)
        far.execute(number, span.start)
        stage.pool.endings.kill(worker, Why.TIMED_OUT, key)
        stage.pool.on_lease_lost()
        stage.zygote.exited(1, 9)
        assert (stage.told.lost_runs, stage.in_hand()) == (ids([key]), (0, 0))

    play(scenario)


def test_a_worker_that_is_being_ended_is_replaced_before_it_is_gone() -> None:
    async def scenario(stage: Stage) -> None:
        keys = stage.assign(1)
        _, number, span, far = await given(stage)
        far.execute(number, span.start)
        stage.pool.on_cancel(keys)
        assert sorted(stage.workforce.workers) == [1, 2]
        stage.zygote.exited(1, 15)
        assert (stage.told.ended_runs, stage.in_hand()) == (ids(keys), (0, 0))

    play(scenario)


def test_a_run_that_starts_while_its_cancellation_is_on_the_way_is_ended() -> None:
    async def scenario(stage: Stage) -> None:
        keys = stage.assign(1)
        worker, number, span, far = await given(stage)
        stage.pool.on_cancel(keys)
        assert worker.phase is WorkerPhase.BUSY, "it had not started"
        far.execute(number, span.start)
        far.revoked(number, span.stop)
        await eventually(lambda: worker.phase is WorkerPhase.ENDING)
        stage.zygote.exited(1, 15)
        assert (stage.told.ended_runs, stage.in_hand()) == (ids(keys), (0, 0))

    play(scenario)


def test_a_death_between_runs_counts_for_the_first_piece_only() -> None:
    async def scenario(stage: Stage) -> None:
        first, second = stage.assign(1)[0], stage.assign(1)[0]
        worker, *_ = await given(stage)
        queued = stage.pool.intake.queue.pop(1)
        assert queued is not None
        worker.give(99, queued)
        stage.zygote.exited(1, 9)
        strikes = [(span.key(span.start), span.strikes) for span in stage.pool.intake.queue]
        assert strikes == [(first, 1), (second, 0)]
        assert stage.told.lost_runs == []

    play(scenario)


def test_what_is_given_to_a_worker_that_is_gone_has_no_part_in_its_death() -> None:
    async def scenario(stage: Stage) -> None:
        far = await stage.ready()
        far.data.close()
        [key] = stage.assign(1)
        worker = stage.worker()
        assert worker.spans, "that it is gone had not been noticed"
        stage.zygote.exited(1, 9)
        assert [(span.key(span.start), span.strikes) for span in stage.pool.intake.queue] == [(key, 0)]

    play(scenario)


def test_only_the_run_that_was_executing_is_lost_with_its_worker() -> None:
    async def scenario(stage: Stage) -> None:
        keys = [stage.assign(1)[0] for _ in range(2)]
        worker, _, span, far = await given(stage)
        queued = stage.pool.intake.queue.pop(1)
        assert queued is not None
        worker.give(99, queued)
        far.execute(99, queued.start)
        stage.zygote.exited(1, 9)
        assert stage.told.lost_runs == ids(keys[1:])
        assert ids(list(stage.pool.held())) == ids(keys[:1])
        assert span.strikes == 0

    play(scenario)


def test_the_run_that_signals_for_an_earlier_one_have_met_is_lost_and_not_begun_twice() -> None:
    async def scenario(stage: Stage) -> None:
        keys = stage.assign(3)
        worker, number, span, far = await given(stage)
        queued = stage.pool.intake.queue.pop(2)
        assert queued is not None
        worker.give(99, queued)
        far.execute(number, span.start)
        stage.pool.endings.kill(worker, Why.WAITING_REFUSED, keys[0])
        far.report(number, span.start, 1)  # it had ended just before
        far.execute(99, queued.start)
        stage.zygote.exited(1, 15)
        assert stage.told.lost_runs == ids(keys[1:2])
        assert ids(list(stage.pool.held())) == ids(keys[2:])

    play(scenario)


def test_the_last_signal_is_called_off_when_the_process_has_ended() -> None:
    class Clock(asyncio.BaseEventLoop):
        """Keeps the timers it is asked for."""

        timers: ClassVar[list[asyncio.TimerHandle]] = []

        def call_later(self, *args: Any, **options: Any) -> asyncio.TimerHandle:
            self.timers.append(super().call_later(*args, **options))
            return self.timers[-1]

    loop = Clock()
    ending = Ending(Why.CANCELLED, pb.RunKey())
    ending.begin(loop, 0)
    [timer] = loop.timers
    ending.done()
    assert timer.cancelled(), "its process id may be somebody else's by then"
    loop.close()


def test_a_lost_lease_ends_the_grace_of_a_run_that_was_being_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[int] = []
    monkeypatch.setattr(terminating, "signal_group", lambda pid, signum: sent.append(signum))

    async def scenario(stage: Stage) -> None:
        keys = stage.assign(1)
        _, number, span, far = await given(stage)
        far.execute(number, span.start)
        stage.pool.on_cancel(keys)
        assert sent == [signal.SIGTERM]
        stage.pool.on_lease_lost()
        assert sent == [signal.SIGTERM, signal.SIGKILL]
        stage.zygote.exited(1, 9)
        assert (stage.told.ended_runs, stage.told.lost_runs) == (ids(keys), [])
        assert stage.in_hand() == (0, 0)

    play(scenario)
