"""One run of a lane: its limits by an injected clock, its end, and what it says meanwhile."""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any

import pytest

from taskyard_agent.runner.blob_files import BlobFiles
from taskyard_agent.runner.lane_board import AWAITS
from taskyard_agent.runner.lane_link import EndedRun
from taskyard_agent.runner.lane_run import LaneRun, current_run
from taskyard_agent.runner.report_columns import Outcome, Placed
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import template_pb2
from taskyard_contract.assignments.chunk import Chunk
from taskyard_contract.states import ReportKind, StateReason
from taskyard_contract.values.layout import LaidOut

Body = Callable[[Any], Coroutine[Any, Any, bytes]]


class Slots:
    def __init__(self) -> None:
        self.words: list[int] = []

    def take(self, number: int, position: int, now_ns: int) -> int:
        return 7

    def heard(self, slot: int, now_ns: int) -> None:
        self.words.append(now_ns)


class Told:
    def __init__(self) -> None:
        self.awaiting = 0
        self.blocks_told: list[bool] = []

    def awaits(self, by: int) -> None:
        self.awaiting += by

    def blocks(self, blocked: bool, number: int, position: int) -> None:
        self.blocks_told.append(blocked)

    def heartbeat(self, progress: pb.RunProgress) -> None:
        """Keep nothing."""


class Around:
    """What a run needs of its lane."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.link, self.slots = Told(), Slots()
        self.over: list[EndedRun] = []
        self.here = True

    def in_loop(self) -> bool:
        return self.here

    def placed(self, run: LaneRun, outcome: Outcome) -> Placed:
        assert not isinstance(outcome, LaidOut)
        return outcome

    def ended(self, run: LaneRun, ended: EndedRun) -> None:
        self.over.append(ended)

    def changed(self) -> None:
        """Tell nobody."""


class Code:
    def __init__(self, body: Body) -> None:
        self._body = body

    async def execute_async(self, invocation: Any, host: Any) -> bytes:
        return await self._body(host)

    def execute(self, invocation: Any, host: Any) -> bytes:
        raise AssertionError("it has another way")


class Clock:
    now = 0

    def __call__(self) -> int:
        return self.now


def begin(around: Around, body: Body, clock: Clock | None = None, **template: Any) -> LaneRun:
    message = template_pb2.RunTemplate(name="task", encoding="python/pickle5", **template)
    chunk = Chunk(1, b"i" * 16, message, pb.ChunkBody(args=[b""], ordinals=[0]), BlobFiles(None))  # type: ignore[arg-type]
    run = LaneRun(around, chunk, 1, 0, clock or Clock())  # type: ignore[arg-type]
    run.start(Code(body), copy_context())
    return run


async def for_ever(host: Any) -> bytes:
    await asyncio.Event().wait()
    return b""


def play(scenario: Callable[[Around], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        await scenario(Around())

    asyncio.run(main())


async def end_of(around: Around, run: LaneRun) -> Any:
    await asyncio.wait([run.task])
    await asyncio.sleep(0)
    [ended] = around.over
    return ended.outcome


def test_a_value_is_its_end_and_the_run_is_found_from_its_context() -> None:
    async def scenario(around: Around) -> None:
        found: list[Any] = []

        async def body(host: Any) -> bytes:
            found.append(current_run())
            found.append(await asyncio.create_task(beside()))
            return b"value"

        async def beside() -> Any:
            return current_run()

        run = begin(around, body)
        assert await end_of(around, run) == b"value"
        assert (found, current_run()) == ([run, run], None)

    play(scenario)


@pytest.mark.parametrize("swallows", [False, True])
def test_a_run_whose_time_is_up_timed_out_whatever_comes_of_it(swallows: bool) -> None:
    async def scenario(around: Around) -> None:
        async def body(host: Any) -> bytes:
            try:
                return await for_ever(host)
            except asyncio.CancelledError:
                if not swallows:
                    raise
                return b"all the same"

        run = begin(around, body, timeout_ms=3_600_000)
        await asyncio.sleep(0)
        run._time_is_up()
        outcome = await end_of(around, run)
        assert (outcome.kind, outcome.reason) == (ReportKind.FAILED, StateReason.TIMED_OUT)
        assert outcome.message == "the attempt exceeded its timeout of 3600 seconds and was ended"

    play(scenario)


@pytest.mark.parametrize("began", [False, True])
def test_a_cancelled_run_has_no_outcome_begun_or_not(began: bool) -> None:
    async def scenario(around: Around) -> None:
        run = begin(around, for_ever)
        if began:
            await asyncio.sleep(0)
        run.cancel()
        assert await end_of(around, run) is None

    play(scenario)


def test_a_run_that_has_ended_is_not_expired_afterwards() -> None:
    async def scenario(around: Around) -> None:
        async def body(host: Any) -> bytes:
            return b"quick"

        run = begin(around, body, timeout_ms=3_600_000)
        assert await end_of(around, run) == b"quick"
        run._time_is_up()
        assert run.expired == ""

    play(scenario)


def test_silence_counts_from_the_last_word_and_not_while_it_waits_for_others() -> None:
    async def scenario(around: Around) -> None:
        clock = Clock()
        run = begin(around, for_ever, clock, heartbeat_timeout_ms=1_000_000)
        await asyncio.sleep(0)
        clock.now = 900 * 10**9
        run.heartbeat(pb.RunProgress())
        clock.now = 1_100 * 10**9
        run._look_for_words()
        assert run.expired == "", "it has said something since"
        with run.awaiting():
            clock.now = 5_000 * 10**9
            run._look_for_words()
            assert run.expired == ""
        clock.now = 5_900 * 10**9
        run._look_for_words()
        assert run.expired == "", "the end of its wait was a word"
        clock.now = 6_100 * 10**9
        run._look_for_words()
        assert "said nothing of its progress for 1000 seconds" in run.expired
        assert (await end_of(around, run)).reason == StateReason.TIMED_OUT

    play(scenario)


def test_waits_inside_waits_are_one_and_over_with_the_run() -> None:
    async def scenario(around: Around) -> None:
        run = begin(around, for_ever)
        await asyncio.sleep(0)
        with run.awaiting():
            with run.awaiting():
                assert around.link.awaiting == 1
            assert around.link.awaiting == 1
        assert around.link.awaiting == 0
        run._count(1)  # of a thread that goes on when it has ended
        run.cancel()
        await end_of(around, run)
        assert around.link.awaiting == 0
        words = len(around.slots.words)
        run._count(-1)
        run.heartbeat(pb.RunProgress())
        assert (around.link.awaiting, len(around.slots.words)) == (0, words), "the slot is another run's"
        assert AWAITS in around.slots.words

    play(scenario)


def test_only_waiting_in_the_thread_of_the_loop_keeps_it() -> None:
    async def scenario(around: Around) -> None:
        run = begin(around, for_ever)
        await asyncio.sleep(0)
        with run.blocked():
            assert around.link.blocks_told == [True]
        assert around.link.blocks_told == [True, False]
        around.here = False
        with run.blocked():
            await asyncio.sleep(0)
            assert around.link.awaiting == 1
        await asyncio.sleep(0)
        assert around.link.awaiting == 0
        run.cancel()
        await end_of(around, run)

    play(scenario)


def test_code_that_is_no_coroutine_function_does_not_keep_the_loop() -> None:
    async def scenario(around: Around) -> None:
        class Plain:
            def execute(self, invocation: Any, host: Any) -> bytes:
                with pytest.raises(RuntimeError):
                    asyncio.get_running_loop()
                return b"plain"

        message = template_pb2.RunTemplate(name="task", encoding="python/pickle5")
        chunk = Chunk(1, b"i" * 16, message, pb.ChunkBody(args=[b""], ordinals=[0]), BlobFiles(None))  # type: ignore[arg-type]
        run = LaneRun(around, chunk, 1, 0)  # type: ignore[arg-type]
        run.start(Plain(), copy_context())
        assert await end_of(around, run) == b"plain"

    play(scenario)
