"""The log writer: batches in order, nobody waits for ever, and what is lost is counted and said."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Executor, Future
from typing import Any

import pytest
from support.owner_harness import FakeClock

from taskyard_contract.errors import NotOwner, StorageFull, StorageUnavailable
from taskyard_controlplane.owner.logs import writer as module
from taskyard_controlplane.owner.logs.limits import LogLimits
from taskyard_controlplane.owner.logs.writer import FEW_ROWS, PATIENCE_SECONDS, PAUSE_SECONDS, LogWriter
from taskyard_controlplane.owner.metrics import Metrics
from taskyard_controlplane.storage.interface import LogPosition, LogTuple

FULL = StorageFull("no room", retry_after=5.0)
AWAY = StorageUnavailable("away", retry_after=1.0)


class Store:
    """A log store that fails when the test says so."""

    appends_are_fast = True
    upkeep_due = False

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.marks: dict[bytes, int] = {}
        self.error: Exception | None = None
        self.tries = self.upkeeps = 0
        self.closed = False

    def open(self, generation: int, now_us: int) -> LogPosition:
        return LogPosition(0, 0, {})

    def append(self, rows: Sequence[LogTuple], marks: Mapping[bytes, int], now_us: int) -> None:
        self.tries += 1
        if self.error is not None:
            raise self.error
        self.texts += [row[5] for row in rows]
        self.marks.update(marks)

    def maintain(self, now_us: int) -> None:
        self.upkeeps += 1

    def close(self) -> None:
        self.closed = True


class Held(Executor):
    """Does what it is handed when the test says so."""

    def __init__(self) -> None:
        self.jobs: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, job: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        self.jobs.append((future, lambda: job(*args)))
        return future

    def release(self) -> None:
        for future, job in self.jobs[:]:
            self.jobs.pop(0)
            try:
                future.set_result(job())
            except Exception as error:
                future.set_exception(error)


class Stage:
    """A writer with all around it."""

    def __init__(self, limits: LogLimits) -> None:
        self.store, self.clock, self.metrics, self.thread = Store(), FakeClock(), Metrics(), Held()
        self.writer = LogWriter(self.store, self.clock, self.metrics, limits, self.thread)  # type: ignore[arg-type]
        self.changed: list[set[int]] = []
        self.lost: list[tuple[int, int | None, int]] = []
        self.writer.on_written = self.changed.append
        self.writer.on_lost = lambda *lost: self.lost.append(lost)

    def log(self, *texts: str, run_seq: int = 1, flow_seq: int | None = None) -> None:
        for text in texts:
            self.writer.record(run_seq, flow_seq, 5, 20, "tests", text)

    async def turn(self, times: int = 6) -> None:
        for _ in range(times):
            await asyncio.sleep(0)

    async def work(self) -> None:
        """Let the thread do what it is asked for."""
        for _ in range(4):
            await self.turn()
            self.thread.release()
        await self.turn()

    async def settled(self) -> None:
        """Let all that has come be stored, or given up."""
        settled = asyncio.ensure_future(self.writer.settled())
        while not settled.done():
            await self.work()

    async def pass_by(self, seconds: float) -> None:
        """Let time pass, for the writer and for the loop."""
        self.clock.seconds += seconds
        await self.work()


def play(scene: Callable[[Stage], Coroutine[Any, Any, None]], limits: LogLimits | None = None) -> None:
    async def main() -> None:
        await asyncio.wait_for(scene(Stage(limits or LogLimits())), 20)

    asyncio.run(main())


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop's timers; how long is waited for is the test's clock."""
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)


def test_a_few_records_are_stored_at_once_without_a_thread():
    async def scene(it: Stage) -> None:
        it.log("a", "b", run_seq=2, flow_seq=1)
        it.writer.came(b"s", 3)
        assert (it.writer.latest, it.writer.written) == (1, 0)
        await it.turn()
        assert (it.store.texts, it.store.marks, it.store.tries) == (["a", "b"], {b"s": 3}, 1)
        assert it.changed == [{1, 2}]
        assert (it.writer.latest, it.writer.written, it.thread.jobs) == (1, 1, [])

    play(scene)


def test_what_comes_while_many_are_appended_goes_next_and_in_order():
    async def scene(it: Stage) -> None:
        done = list[str]()
        it.log(*["x"] * (FEW_ROWS + 1))
        it.writer.when_written(it.writer.latest, lambda: done.append("first"))
        await it.turn()
        it.log("later")
        it.writer.when_written(it.writer.latest, lambda: done.append("second"))
        await it.turn()
        assert (it.store.texts, done, it.writer.latest) == ([], [], 2)
        await it.work()
        assert (it.store.texts[-1], done, it.writer.written) == ("later", ["first", "second"], 2)
        it.writer.when_written(1, lambda: done.append("at once"))
        assert done[-1] == "at once"

    play(scene)


def test_who_waits_for_logs_does_not_wait_for_a_store_that_hangs(monkeypatch: pytest.MonkeyPatch):
    async def scene(it: Stage) -> None:
        it.log(*["x"] * (FEW_ROWS + 1))
        settled, times = asyncio.Event(), list[str]()
        it.writer.when_settled(it.writer.latest, settled.set)
        it.writer.when_settled(it.writer.latest, lambda: times.append("once"))
        await it.turn()
        async with asyncio.timeout(30):
            await settled.wait()
        assert it.writer.written == 0
        await it.work()
        assert (it.writer.written, times) == (1, ["once"])

    monkeypatch.setattr(module, "HUNG_SECONDS", 0.0)
    play(scene)


def test_it_is_known_which_logs_are_not_stored_yet():
    async def scene(it: Stage) -> None:
        it.log(*["x"] * (FEW_ROWS + 1), run_seq=2, flow_seq=1)
        first = it.clock.now_us()
        await it.turn()
        it.log("y", run_seq=3)
        assert [it.writer.holds(seq) for seq in (1, 2, 3, 4)] == [True, True, True, False]
        assert it.writer.stored_up_to(1) == it.writer.stored_up_to(2) == first - 1
        assert it.writer.stored_up_to(3) == it.writer.numbers.last - 1
        assert it.writer.stored_up_to(4) == it.writer.numbers.last
        await it.work()
        assert not any(it.writer.holds(seq) for seq in (1, 2, 3))

    play(scene)


def test_numbers_of_batches_that_no_database_takes_are_cut():
    async def scene(it: Stage) -> None:
        it.writer.came(b"s", 2**64 - 1)
        await it.turn()
        assert it.store.marks == {b"s": 2**63 - 1}

    play(scene)


def test_what_a_run_logs_beyond_the_limits_is_left_out_and_its_log_says_so():
    async def scene(it: Stage) -> None:
        it.log("a", "b", "c", "d")
        it.log("other", run_seq=2)
        await it.turn()
        assert it.store.texts == ["a", "b", LogLimits(2, 100).reached(), "other"]
        assert it.metrics.dropped_logs == 2
        it.writer.forget([1, 2])
        assert not it.writer.counts.runs

    play(scene, LogLimits(2, 100))


def test_a_full_log_store_holds_nobody_up_and_the_loss_is_counted_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scene(it: Stage) -> None:
        it.store.error = FULL
        it.log("a", "b", run_seq=2, flow_seq=1)
        await it.settled()
        assert (it.metrics.dropped_logs, it.lost, it.store.tries) == (2, [(2, 1, 2)], 1)
        for _ in range(3):
            it.log("c", run_seq=2, flow_seq=1)
            await it.settled()
        assert (it.store.tries, it.metrics.dropped_logs) == (1, 5), "nothing is tried for a while"
        assert [text for text in caplog.messages if "takes no records" in text] == [
            "the log store takes no records, runs go on without: no room"
        ]
        it.writer._tell_lost()
        assert it.lost == [(2, 1, 2), (2, 1, 3)]
        it.store.error = None
        it.clock.seconds += PAUSE_SECONDS
        it.log("d", run_seq=2)
        await it.settled()
        assert it.store.texts == ["d"]
        assert caplog.messages[-1] == "the log store takes records again"

    play(scene)


def test_a_log_store_that_does_not_answer_is_asked_again_for_a_while(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scene(it: Stage) -> None:
        it.store.error = AWAY
        it.log("a")
        await it.turn()
        for _ in range(3):
            await it.pass_by(1.0)
        assert (it.writer.written, it.metrics.dropped_logs) == (0, 0)
        it.store.error = None
        await it.settled()
        assert (it.store.texts, it.metrics.dropped_logs) == (["a"], 0)
        it.store.error = AWAY
        it.log("b")
        await it.turn()
        it.clock.seconds += PATIENCE_SECONDS
        await it.settled()
        assert (it.store.texts, it.metrics.dropped_logs) == (["a"], 1)

    play(scene)


@pytest.mark.parametrize("error", [NotOwner("replaced"), RuntimeError("a defect")])
def test_whatever_else_goes_wrong_costs_records_and_no_run(error: Exception) -> None:
    async def scene(it: Stage) -> None:
        it.store.error = error
        it.log("a")
        await it.settled()
        assert it.metrics.dropped_logs == 1

    play(scene)


def test_a_thread_that_fails_is_as_good_as_a_loop_that_does():
    async def scene(it: Stage) -> None:
        it.store.error = FULL
        it.log(*["x"] * (FEW_ROWS + 1))
        await it.work()
        assert it.metrics.dropped_logs == FEW_ROWS + 1

    play(scene)


def test_upkeep_takes_turns_with_appends_and_is_done_when_there_was_something():
    async def scene(it: Stage) -> None:
        it.writer.maintain()
        await it.work()
        assert it.store.upkeeps == 0
        it.log("a")
        await it.turn()
        it.writer.maintain()
        it.log("b")
        await it.turn()
        assert it.store.texts == ["a"], "the store is used by one at a time"
        await it.work()
        assert (it.store.upkeeps, it.store.texts) == (1, ["a", "b"])
        it.clock.seconds += module.UPKEEP_SECONDS
        it.writer.maintain()
        await it.work()
        assert it.store.upkeeps == 2, "a day may have ended"

    play(scene)


def test_closing_writes_what_has_come():
    async def scene(it: Stage) -> None:
        it.log(*["x"] * (FEW_ROWS + 1))
        closing = asyncio.ensure_future(it.writer.close())
        await it.work()
        await closing
        assert (len(it.store.texts), it.store.closed) == (FEW_ROWS + 1, True)
        it.log("too late")
        await it.turn()
        assert it.store.texts[-1] == "x"

    play(scene)


def test_an_abandoned_writer_writes_nothing():
    async def scene(it: Stage) -> None:
        it.log("a")
        it.writer.abandon()
        await it.turn()
        assert (it.store.texts, it.store.tries) == ([], 0)

    play(scene)
