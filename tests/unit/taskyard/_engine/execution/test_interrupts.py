"""Interruptions hit the body of a flow, or nothing."""

import asyncio
import gc
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any

import pytest

from taskyard._engine.execution import interrupts
from taskyard._engine.execution.interrupts import (
    FlowCancelled,
    LoopInterrupter,
    SignalInterrupter,
    ThreadInterrupter,
    TimeLimit,
    interrupter,
    raise_missed,
    run_interruptibly,
)
from taskyard._engine.execution.raising import TakenBack
from taskyard._engine.execution.termination import catch_termination, exit_code_of
from taskyard.exceptions import FlowTimedOut, TerminationSignal
from taskyard_contract.programs.uninterrupted import interruptible, is_uninterrupted, uninterrupted


def spin_until_stopped() -> None:
    while True:
        time.sleep(0)


def test_in_the_main_thread_a_signal_ends_blocking_calls() -> None:
    stopper = interrupter()
    assert isinstance(stopper, SignalInterrupter)
    threading.Timer(0.01, stopper.interrupt).start()
    try:
        with pytest.raises(FlowCancelled):
            time.sleep(30)
    finally:
        stopper.close()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_users_own_interrupt_stays_one() -> None:
    stopper = interrupter()
    try:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        stopper.close()


def test_a_signal_whose_handler_was_interrupted_is_raised_when_the_inner_run_has_ended() -> None:
    class Torn(SignalInterrupter):
        def _handle(self, number: int, frame: FrameType | None) -> None:
            """Be ended before the first statement, as by an exception that is set in this thread."""

    stopper = Torn(FlowCancelled, signal.SIGINT)
    try:
        raise_missed()
        stopper.interrupt()
        with pytest.raises(FlowCancelled):
            raise_missed()
        raise_missed()  # once is enough: the flow may call tasks to clean up
    finally:
        stopper.close()
    stopper.interrupt()
    raise_missed()


def test_a_signal_that_has_arrived_is_not_raised_again() -> None:
    stopper = interrupter()
    try:
        threading.Timer(0.01, stopper.interrupt).start()
        with pytest.raises(FlowCancelled):
            time.sleep(30)
        raise_missed()
    finally:
        stopper.close()


def test_a_late_signal_is_swallowed() -> None:
    stopper = interrupter()
    stopper.close()
    handler = signal.getsignal(signal.SIGINT)
    stopper.interrupt()
    raise_missed()
    assert signal.getsignal(signal.SIGINT) is handler


def test_programs_with_a_handler_of_their_own_keep_it() -> None:
    def own(number: int, frame: object) -> None:
        """Do nothing."""

    before = signal.signal(signal.SIGINT, own)
    try:
        assert isinstance(interrupter(), ThreadInterrupter)
        assert signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_is_stopped_at_its_next_bytecode() -> None:
    ended: list[type[BaseException]] = []
    started = threading.Event()
    stoppers: list[ThreadInterrupter | SignalInterrupter] = []

    def body() -> None:
        stoppers.append(interrupter())
        started.set()
        try:
            spin_until_stopped()
        except FlowCancelled as error:
            ended.append(type(error))
        finally:
            stoppers[0].close()

    thread = threading.Thread(target=body)
    thread.start()
    started.wait(30)
    stoppers[0].interrupt()
    thread.join(30)
    assert ended == [FlowCancelled]


def test_what_was_lost_in_a_callback_is_raised_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python only prints what comes while it calls back for a weak reference, or a finalizer."""
    monkeypatch.setattr(interrupts, "INSIST_SECONDS", 0.01)
    lost: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: lost.append(args.exc_type))
    ended: list[type[BaseException]] = []
    stoppers: list[ThreadInterrupter] = []
    inside = threading.Event()

    class Forgotten:
        pass

    def spin_in_a_callback(_: object) -> None:
        inside.set()
        spin_until_stopped()

    def body() -> None:
        stopper = ThreadInterrupter(FlowCancelled)
        stoppers.append(stopper)
        forgotten = Forgotten()
        reference = weakref.ref(forgotten, spin_in_a_callback)
        try:
            del forgotten
            assert reference() is None
            spin_until_stopped()
        except FlowCancelled as error:
            ended.append(type(error))
        finally:
            stopper.close()

    thread = threading.Thread(target=body)
    thread.start()
    assert inside.wait(30)
    stoppers[0].interrupt()
    thread.join(30)
    assert (lost, ended) == ([FlowCancelled], [FlowCancelled])


def test_an_interruption_is_not_repeated_while_the_body_cleans_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "INSIST_SECONDS", 0.01)
    cleaned: list[str] = []

    def body() -> None:
        stopper = ThreadInterrupter(FlowCancelled)
        stoppers.append(stopper)
        try:
            try:
                spin_until_stopped()
            finally:
                time.sleep(0.1)  # what is tested is that nothing comes in this time
                cleaned.append("whole")
        except FlowCancelled:
            pass
        finally:
            stopper.close()

    stoppers: list[ThreadInterrupter] = []
    thread = threading.Thread(target=body)
    thread.start()
    while not stoppers:
        time.sleep(0.001)
    stoppers[0].interrupt()
    thread.join(30)
    assert cleaned == ["whole"]


@uninterrupted
def whole(steps: list[str]) -> None:
    for _ in range(200_000):
        pass
    steps.append("whole")


@pytest.mark.parametrize("by", ["signal", "thread"])
def test_what_may_not_be_interrupted_ends_before(by: str) -> None:
    steps: list[str] = []
    ended: list[int] = []

    def work() -> None:
        while True:
            for _ in range(200_000):
                pass
            steps.append("begun")
            whole(steps)

    def body() -> None:
        with pytest.raises(FlowTimedOut), TimeLimit(0.05, "slow"):
            work()
        ended.append(len(steps))

    if by == "signal":
        body()
    else:
        thread = threading.Thread(target=body)
        thread.start()
        thread.join(30)
    assert ended, "it went on"
    whole_steps = steps[: len(steps) // 2 * 2]
    assert whole_steps == ["begun", "whole"] * (len(steps) // 2)


def test_nothing_is_raised_where_python_would_only_print_it() -> None:
    seen: dict[str, bool] = {}

    def look(where: str) -> None:
        seen[where] = is_uninterrupted(sys._getframe())

    class Dying:
        def __del__(self) -> None:
            look("a finalizer")

    def collected(phase: str, _: object) -> None:
        look("a callback of the collector")

    look("ordinary code")
    gc.callbacks.append(collected)
    try:
        gc.collect()
    finally:
        gc.callbacks.remove(collected)
    Dying()
    assert seen == {"ordinary code": False, "a callback of the collector": True, "a finalizer": True}


def test_what_waits_inside_of_marked_code_can_be_interrupted() -> None:
    waits = interruptible(lambda: time.sleep(30))

    @uninterrupted
    def marked() -> None:
        waits()

    with pytest.raises(FlowTimedOut), TimeLimit(0.05, "slow"):
        marked()


def test_what_was_not_raised_yet_is_taken_back() -> None:
    stopper = ThreadInterrupter(FlowCancelled)
    stopper.close()
    stopper.interrupt()
    assert sum(range(1000)) == 499_500


def test_a_time_limit_in_the_main_thread() -> None:
    limit = TimeLimit(0.01, "slow")
    before = signal.getitimer(signal.ITIMER_REAL)[0]
    with pytest.raises(FlowTimedOut, match=r"'slow' exceeded timeout of 0\.01 second"), limit:
        time.sleep(30)
    assert limit.expired
    after = signal.getitimer(signal.ITIMER_REAL)[0]
    assert before - 5 < after <= before, "the timer of whoever had it before goes on"


def test_a_time_limit_inside_another_one() -> None:
    outer, inner = TimeLimit(30, "outer"), TimeLimit(0.01, "inner")
    with outer:
        with pytest.raises(FlowTimedOut), inner:
            spin_until_stopped()
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
    assert (outer.expired, inner.expired) == (False, True)


def test_no_limit_and_a_kept_limit_do_nothing() -> None:
    with TimeLimit(None, "x") as none, TimeLimit(30, "y") as kept:
        assert sum(range(10)) == 45
    assert not none.expired
    assert not kept.expired


def test_sigterm_becomes_an_exception_once() -> None:
    with catch_termination() as outer, catch_termination() as inner:
        assert (outer, inner) == (True, False)
        with pytest.raises(TerminationSignal) as caught:
            signal.raise_signal(signal.SIGTERM)
    assert exit_code_of(caught.value.signal) == 143
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_loops_task_is_cancelled_and_goes_on() -> None:
    async def main() -> str:
        stopper = LoopInterrupter()
        threading.Timer(0.01, stopper.interrupt).start()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            assert stopper.was_meant()
        stopper.close()
        stopper.interrupt()
        await asyncio.sleep(0)
        return "went on"

    assert asyncio.run(main()) == "went on"


def test_a_cancellation_by_somebody_else_is_theirs() -> None:
    async def body() -> None:
        stopper = LoopInterrupter()
        try:
            await asyncio.sleep(30)
        finally:
            assert not stopper.was_meant()

    async def main() -> None:
        work = asyncio.create_task(body())
        await asyncio.sleep(0)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    asyncio.run(main())


@pytest.fixture
def raised(monkeypatch: pytest.MonkeyPatch) -> list[type[BaseException]]:
    """What is raised in threads; only what takes another's place is, the others stay on their way."""
    kinds: list[type[BaseException]] = []

    def note(thread: int, kind: type[BaseException]) -> None:
        kinds.append(kind)
        if kind is TakenBack:
            raise kind

    monkeypatch.setattr("taskyard._engine.execution.raising.raise_in", note)
    return kinds


def test_closing_takes_back_what_was_not_raised_yet(raised: list[type[BaseException]]) -> None:
    stopper = ThreadInterrupter(FlowCancelled)
    stopper.interrupt()
    stopper.close()
    stopper.interrupt()
    stopper.close()
    assert raised == [FlowCancelled, TakenBack]


def test_closing_leaves_a_thread_alone_in_which_nothing_was_raised(raised: list[type[BaseException]]) -> None:
    stopper = ThreadInterrupter(FlowCancelled)
    stopper.close()
    assert raised == []


def _ended_by(
    work: Callable[[], Coroutine[Any, Any, object]],
) -> tuple[type[BaseException] | None, list[str]]:
    """Interrupt a coroutine of another thread when it says so; returns what ended it there."""
    ended: list[type[BaseException] | None] = []

    def body() -> None:
        stopper = ThreadInterrupter(FlowCancelled)
        stoppers.append(stopper)
        try:
            run_interruptibly(asyncio.run, work())
            ended.append(None)
        except BaseException as error:
            ended.append(type(error))
        finally:
            stopper.close()

    stoppers: list[ThreadInterrupter] = []
    begun.clear()
    said.clear()
    thread = threading.Thread(target=body)
    thread.start()
    assert begun.wait(30)
    stoppers[0].interrupt()
    thread.join(30)
    assert not thread.is_alive()
    return ended[0], said


begun = threading.Event()
said: list[str] = []


def test_a_coroutine_is_cancelled_where_it_waits_and_can_clean_up() -> None:
    async def work() -> None:
        try:
            begun.set()
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            said.append("cleaned up")

    assert _ended_by(work) == (FlowCancelled, ["cleaned up"])


def test_a_coroutine_that_does_not_wait_is_interrupted_all_the_same() -> None:
    async def work() -> None:
        begun.set()
        spin_until_stopped()

    assert _ended_by(work) == (FlowCancelled, [])


def test_a_coroutine_that_was_cancelled_by_somebody_else_says_so() -> None:
    async def work() -> None:
        begun.set()
        raise asyncio.CancelledError

    stopper = ThreadInterrupter(FlowCancelled)
    try:
        with pytest.raises(asyncio.CancelledError):
            run_interruptibly(asyncio.run, work())
    finally:
        stopper.close()


def test_a_kept_limit_in_another_thread_ends_nothing_afterwards() -> None:
    timers: list[threading.Thread] = []

    def body() -> None:
        before = set(threading.enumerate())
        with TimeLimit(30, "kept"):
            timers.extend(set(threading.enumerate()) - before)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join(30)
    [timer] = timers
    timer.join(25)
    assert not timer.is_alive(), "it would wait for half a minute more"


def test_a_cancelled_loops_task_is_not_marked_any_more() -> None:
    async def main() -> int:
        stopper = LoopInterrupter()
        stopper.interrupt()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(30)
        assert stopper.was_meant()
        stopper.close()
        stopper.interrupt()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    assert asyncio.run(main()) == 0


def test_a_fork_leaves_the_signals_blocked_that_the_program_has_blocked() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        with catch_termination():
            child = os.fork()
            if not child:
                blocked = signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ())
                os._exit(0 if blocked else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            assert signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    with catch_termination():
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
        assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ()), "it was not before"


def test_a_fork_leaves_signals_alone_that_have_no_names() -> None:
    nameless = signal.SIGRTMIN + 3
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {nameless})
    try:
        with catch_termination():
            child = os.fork()
            if not child:
                os._exit(0 if signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before | {nameless} else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before | {nameless}
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
