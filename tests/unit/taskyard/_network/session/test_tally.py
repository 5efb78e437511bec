"""How many runs have ended, by where they were submitted from."""

from typing import Any

import pytest
from support.origins import nowhere

from taskyard._data.values.awaited import AwaitedRun
from taskyard._engine.futures.future import Future
from taskyard._network.session.tally import Ends, Tally, oldest
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.id_factory import new_id
from taskyard_contract.states import RunState


def results(*runs: AwaitedRun, **others: AwaitedRun) -> pb.ResultBatch:
    """Values of some runs, and other outcomes by the names of their states."""
    told: list[Any] = [
        pb.RunOutcome(run_id=run.run_id, state=int(RunState[name]))  # type: ignore[arg-type]  # equal
        for name, run in others.items()
    ]
    return pb.ResultBatch(run_ids=[run.run_id for run in runs], data=[b""] * len(runs), others=told)


def runs_of(origin: Any, count: int = 3) -> list[Future[Any]]:
    return [Future(new_id(), origin) for _ in range(count)]


class NeverAsked(dict[bytes, AwaitedRun]):
    """What is outstanding, where nobody is to look each run up."""

    def get(self, *_: Any) -> Any:
        raise AssertionError("a run was looked up")


def test_nothing_is_counted_while_nobody_watches() -> None:
    Tally().note(results(*runs_of(nowhere())), NeverAsked())


def test_all_that_ends_is_that_of_the_only_flow_run_and_no_run_is_looked_up() -> None:
    tally, ends = Tally(), Ends(nowhere())
    tally.begin(ends)
    value, failed, crashed, cancelled = runs_of(ends.origin, 4)
    tally.note(results(value, FAILED=failed, CRASHED=crashed, CANCELLED=cancelled), NeverAsked())
    assert (ends.ended, ends.failed) == (4, 2)


def test_of_several_flow_runs_each_has_its_own_ends() -> None:
    tally, first, second = Tally(), Ends(nowhere()), Ends(nowhere())
    tally.begin(first)
    tally.begin(second)
    mine, others, strange = runs_of(first.origin), runs_of(second.origin), runs_of(nowhere())
    outstanding = {run.run_id: run for run in (*mine, *others, *strange)}
    tally.note(results(*mine[:2], *others[:1], *strange, NOT_READY=mine[2]), outstanding)
    assert (first.ended, first.failed) == (3, 1)
    assert (second.ended, second.failed) == (1, 0)


def test_a_result_that_comes_once_more_is_nobodys() -> None:
    tally, first, second = Tally(), Ends(nowhere()), Ends(nowhere())
    tally.begin(first)
    tally.begin(second)
    tally.note(results(*runs_of(first.origin)), {})
    assert (first.ended, second.ended) == (0, 0)


def test_who_watches_no_more_is_counted_no_more() -> None:
    tally, first, second = Tally(), Ends(nowhere()), Ends(nowhere())
    tally.begin(first)
    tally.begin(second)
    tally.end(first)
    tally.end(first)
    tally.note(results(*runs_of(second.origin)), NeverAsked())
    assert (first.ended, second.ended) == (0, 3)


def test_an_attempt_that_ends_late_does_not_end_the_next_one() -> None:
    tally, origin = Tally(), nowhere()
    before, now = Ends(origin), Ends(origin)
    tally.begin(before)
    tally.begin(now)
    tally.end(before)
    tally.note(results(*runs_of(origin)), NeverAsked())
    assert (before.ended, now.ended) == (0, 3)


def test_a_refused_run_has_failed() -> None:
    tally, ends = Tally(), Ends(nowhere())
    tally.begin(ends)
    tally.note_refused(runs_of(ends.origin)[0])
    tally.note_refused(runs_of(nowhere())[0])
    assert (ends.ended, ends.failed) == (1, 1)


@pytest.mark.parametrize("most", [0, 2, 5])
def test_the_oldest_are_those_submitted_first(most: int) -> None:
    runs = runs_of(nowhere())
    assert oldest({run.run_id: run for run in runs}, most) == runs[:most]


def test_where_runs_are_executed_here_others_submit_as_well() -> None:
    """Tasks in threads call tasks by the session of their flow run, which counts its own alone."""
    tally, ends = Tally(), Ends(nowhere(), mixed=True)
    tally.begin(ends)
    mine, nested = runs_of(ends.origin), runs_of(nowhere())
    outstanding = {run.run_id: run for run in (*mine, *nested)}
    tally.note(results(*nested, *mine[:1], FAILED=mine[1]), outstanding)
    assert (ends.ended, ends.failed) == (2, 1)


def test_a_scope_that_takes_the_numbers_of_another_is_counted_for_it() -> None:
    flow = nowhere()
    generator = nowhere()
    generator.numbered_by = flow
    tally, ends = Tally(), Ends(flow, mixed=True)
    tally.begin(ends)
    runs = runs_of(generator)
    tally.note(results(*runs), {run.run_id: run for run in runs})
    tally.note_refused(runs[0])
    assert (ends.ended, ends.failed) == (4, 1)
