"""A flow run whose progress is shown: what is made of what is known, and what the server is asked."""

from collections.abc import Coroutine
from concurrent.futures import Future as ThreadFuture
from typing import Any

import pytest
from support.origins import nowhere

from taskyard._engine.futures.future import Future
from taskyard._engine.progress import watched as module
from taskyard._engine.progress.watched import ASK_SECONDS, ASK_SHARE, ASKED_ABOUT, Watched
from taskyard.logging.progress_line import Counts
from taskyard_contract.errors import ConnectionFailed
from taskyard_contract.id_factory import new_id
from taskyard_contract.states import RunState


class Stage:
    """A flow run, a clock, and a server whose answers the test gives."""

    def __init__(self) -> None:
        self.now = 10.0
        self.place = nowhere()
        self.session: Any = self.place.session
        self.asked: list[list[bytes]] = []
        self.answers: list[ThreadFuture[int]] = []
        self.session.client = lambda: self
        self.watched = Watched("great-ammonite", self.place, self.session, lambda: self.now)

    async def count_runs_once(self, wanted: Any) -> int:
        raise AssertionError("the test answers")

    def begin(self, work: Coroutine[Any, Any, int], loop: object) -> "ThreadFuture[int]":
        work.close()
        self.answers.append(ThreadFuture())
        return self.answers[-1]

    def submit(self, count: int, origin: Any = None) -> None:
        self.place.take_ordinals("step", count)
        for run_id in [new_id() for _ in range(count)]:
            self.session.in_flight._outstanding[run_id] = Future(run_id, origin or self.place)

    def end(self, count: int, failed: int = 0) -> None:
        outstanding = self.session.in_flight._outstanding
        for run_id in list(outstanding)[:count]:
            del outstanding[run_id]
        self.watched.ends.ended += count
        self.watched.ends.failed += failed

    def look(self, seconds: float = 0.2, *, ask: bool = True, alone: bool = True) -> Counts:
        self.now += seconds
        self.watched.look(ask=ask, alone=alone)
        return self.watched.counts


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    stage = Stage()
    monkeypatch.setattr(module.asyncio, "run_coroutine_threadsafe", stage.begin)

    async def asked(wanted: Any) -> int:
        raise AssertionError

    def count(wanted: Any) -> Coroutine[Any, Any, int]:
        assert list(wanted.states) == [RunState.RUNNING]
        stage.asked.append(list(wanted.run_ids))
        return asked(wanted)

    monkeypatch.setattr(stage, "count_runs_once", count)
    return stage


def test_it_counts_what_was_submitted_and_what_has_ended(stage: Stage) -> None:
    stage.submit(10)
    assert stage.look(ask=False) == Counts(10, 0)
    stage.end(4, failed=1)
    assert stage.look(ask=False) == Counts(10, 4, 1)


def test_runs_of_an_attempt_before_are_not_counted(stage: Stage) -> None:
    stage.submit(10)
    stage.end(10)
    again = Watched("great-ammonite", stage.place, stage.session, lambda: stage.now)
    again.look(ask=False, alone=True)
    assert again.counts == Counts(0, 0)


def test_nested_flow_runs_are_no_runs_that_it_waits_for(stage: Stage) -> None:
    stage.place.take_flow_ordinal("inner")
    assert stage.look() == Counts(0, 0)


def test_a_map_that_was_refused_leaves_nothing_open(stage: Stage) -> None:
    stage.place.take_ordinals("step", 1_000)  # and then an argument could not be pickled
    assert stage.look() == Counts(0, 0)


def test_it_waits_since_the_first_open_run_and_over_short_breaks(stage: Stage) -> None:
    assert stage.watched.waited() == 0
    stage.submit(1)
    stage.look()
    stage.look(0.5)
    assert stage.watched.waited() == 0.5
    stage.end(1)
    stage.look(0.2)
    stage.submit(1)
    stage.look(0.2)
    assert stage.watched.waited() == pytest.approx(0.9)
    stage.end(1)
    stage.look(0.2)
    stage.look(1.0)
    assert stage.watched.waited() == 0


def test_the_server_says_what_is_executed_and_is_asked_once_a_second(stage: Stage) -> None:
    stage.submit(10)
    assert stage.look().running is None
    stage.answers[0].set_result(2)
    for _ in range(9):
        assert stage.look(ASK_SECONDS / 10).running == 2
    assert len(stage.asked) == 1
    stage.look(0.2)
    assert len(stage.asked) == 2
    assert stage.asked[0] == list(stage.session.in_flight._outstanding)


def test_a_server_that_takes_long_is_asked_more_seldom(stage: Stage) -> None:
    stage.submit(10)
    stage.look()
    stage.look(3)
    stage.answers[0].set_result(2)
    stage.look(3 * ASK_SHARE - 1)
    assert len(stage.asked) == 1
    stage.look(1)
    assert len(stage.asked) == 2


def test_a_server_that_does_not_answer_leaves_it_out(stage: Stage) -> None:
    stage.submit(10)
    stage.look()
    stage.answers[0].set_result(2)
    assert stage.look(1.2).running == 2
    stage.answers[1].set_exception(ConnectionFailed("gone"))
    assert stage.look().running is None


def test_of_many_open_runs_the_oldest_are_asked_about(stage: Stage) -> None:
    stage.submit(ASKED_ABOUT + 500)
    stage.look()
    assert stage.asked[0] == list(stage.session.in_flight._outstanding)[:ASKED_ABOUT]


def test_beside_others_only_its_own_runs_are_asked_about(stage: Stage) -> None:
    stage.submit(3, origin=nowhere())
    stage.submit(2)
    stage.look(alone=False)
    assert stage.asked[0] == list(stage.session.in_flight._outstanding)[3:]


def test_nobody_is_asked_for_a_line_that_is_not_shown(stage: Stage) -> None:
    stage.submit(3)
    stage.look(5, ask=False)
    assert stage.asked == []


def test_its_line_names_it_and_the_task_it_mapped_last(stage: Stage) -> None:
    stage.place.latest_map = "step"
    stage.submit(10)
    stage.look(ask=False)
    assert stage.watched.row(80, colours=False) == "great-ammonite: step 0/10 done, 10 open"


def test_nobody_to_ask_is_no_trouble(stage: Stage) -> None:
    def gone() -> Any:
        raise ConnectionFailed("the yard has ended")

    stage.session.client = gone
    stage.submit(3)
    assert stage.look() == Counts(3, 0)
    assert stage.look(ASK_SECONDS * 2) == Counts(3, 0)
