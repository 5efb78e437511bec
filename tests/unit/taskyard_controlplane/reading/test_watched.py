"""What a watcher is told of runs that enter and leave a filter, and the tokens it comes back with."""

from typing import Any

import pytest

from taskyard_api.v1 import run_service_pb2 as pb
from taskyard_contract.errors import InvalidRequest
from taskyard_contract.states import RunState
from taskyard_controlplane.reading import page_tokens, watched
from taskyard_controlplane.reading.filters import Pick
from taskyard_controlplane.reading.page_tokens import Listing
from taskyard_controlplane.reading.tokens import scope_of
from taskyard_controlplane.reading.watched import ResumePoint, Told

S = RunState
SCOPE = scope_of(pb.RunFilter(task_name="add"))


def run(state: int, run_id: bytes = b"r", agent_name: str = "") -> pb.Run:
    return pb.Run(run_id=run_id, state=state, agent_name=agent_name)  # type: ignore[arg-type]


def told(*, resumed: bool = False, **wanted: Any) -> Told:
    return Told(Pick.of(pb.RunFilter(**wanted)), resumed=resumed)


def test_a_run_that_leaves_is_told_once() -> None:
    ready = told(states=[S.READY])
    states = [S.READY, S.ASSIGNED, S.RUNNING, S.READY, S.READY, S.COMPLETED, S.COMPLETED]
    assert [ready.wants(run(state)) for state in states] == [True, True, False, True, True, True, False]
    assert not ready.wants(run(S.RUNNING, b"another"))


def test_an_agent_is_left_too() -> None:
    of_agent = told(agent_name="a")
    names = ["", "a", "b", "b", "a", ""]
    assert [of_agent.wants(run(S.ASSIGNED, b"r", name)) for name in names] == [
        False, True, True, False, True, True,
    ]  # fmt: skip


@pytest.mark.parametrize("resumed", [False, True])
def test_nothing_leaves_a_final_state(resumed: bool) -> None:
    failed = told(resumed=resumed, states=[S.FAILED])
    assert not failed.wants(run(S.RUNNING))
    assert failed.wants(run(S.FAILED))


def test_who_came_back_hears_of_what_may_have_been_told_to_fit() -> None:
    ready = told(resumed=True, states=[S.READY])
    assert ready.wants(run(S.COMPLETED))
    assert told(resumed=True).wants(run(S.COMPLETED)), "without states everything is told anyway"


def test_who_was_told_too_much_hears_of_all_that_may_be_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "MOST_TOLD", 2)
    ready = told(states=[S.READY])
    for number in range(3):
        assert ready.wants(run(S.READY, bytes([number])))
    assert all(ready.wants(run(S.RUNNING, bytes([number]))) for number in range(3))


def test_what_has_ended_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "MOST_TOLD", 2)
    begun = told(states=[S.RUNNING, S.COMPLETED])
    for number in range(5):
        assert begun.wants(run(S.RUNNING, bytes([number])))
        assert begun.wants(run(S.COMPLETED, bytes([number])))
    assert not begun.wants(run(S.READY, b"another")), "it has not been told too much"


def test_a_token_gives_back_its_point() -> None:
    for point in (ResumePoint(1, 2, 3), ResumePoint(7, 1), ResumePoint(1 << 40, 1 << 50, 1 << 47)):
        assert watched.decode(watched.encode(point, SCOPE), SCOPE) == point
    assert watched.decode("", SCOPE) is None


@pytest.mark.parametrize(
    ("token", "text"),
    [
        ("nonsense", "not issued by WatchRuns"),
        ("_" * 46, "not issued by WatchRuns"),
        (page_tokens.encode(Listing.RUNS, 5, SCOPE), "not issued by WatchRuns"),
        (watched.encode(ResumePoint(1, -2), SCOPE), "not issued by WatchRuns"),
        (watched.encode(ResumePoint(1, 2), scope_of(b"other")), "another request"),
    ],
)
def test_another_token_is_refused(token: str, text: str) -> None:
    with pytest.raises(InvalidRequest, match=text):
        watched.decode(token, SCOPE)


def test_a_resume_token_is_no_page_token() -> None:
    with pytest.raises(InvalidRequest):
        page_tokens.decode(Listing.RUNS, watched.encode(ResumePoint(1, 2), SCOPE), SCOPE)
