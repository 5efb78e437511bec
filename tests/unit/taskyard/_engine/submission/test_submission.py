"""What a map becomes on the wire: groups of children, each with its own edges and no other's."""

import pytest
from support.loopback import LoopbackSession

from taskyard._engine.submission.mapping import expand
from taskyard._engine.submission.scope import Scope
from taskyard._engine.submission.submitting import submit_many, submit_one
from taskyard.futures import Future, FutureList
from taskyard.states import Completed
from taskyard.tasks import Task, task
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.encodings import BUFFERS, decode
from taskyard_contract.pickling import dumps, loads
from taskyard_contract.states import UpstreamKind


@task
def double(x: object) -> object:
    return x


@pytest.fixture
def silent(session: LoopbackSession) -> LoopbackSession:
    """A session that keeps what is submitted."""
    session.silent = True
    return session


def mapped(scope: Scope, values: object, of: Task[..., object] = double) -> FutureList[object]:
    return submit_many(of, scope, expand(of.signature, (values,), {}))


def groups(session: LoopbackSession) -> list[pb.RunGroup]:
    taken: list[pb.RunGroup] = []
    while frame := session.in_flight.next_frame():
        taken += frame.submit.groups
    return taken


def edges(group: pb.RunGroup) -> list[tuple[int, bytes, int]]:
    return list(zip(group.upstream_positions, group.upstream_ids, group.upstream_kinds, strict=True))


def test_each_child_depends_on_what_is_in_its_own_arguments(silent: LoopbackSession) -> None:
    scope = silent.scope()
    upstream = submit_one(double, scope, (1,), {})
    mapped(scope, [[upstream], 5, 6])
    group = groups(silent)[-1]
    assert edges(group) == [(0, upstream.run_id, UpstreamKind.DATA)]


def test_children_are_numbered_through_their_groups(
    silent: LoopbackSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskyard._engine.submission.submitting.RUNS_PER_FRAME", 2)
    scope = silent.scope()
    futures = mapped(scope, range(5))
    mapped(scope, range(1))
    found = groups(silent)
    assert [(group.first_ordinal, len(group.run_ids)) for group in found] == [(0, 2), (2, 2), (4, 1), (5, 1)]
    assert [run_id for group in found[:3] for run_id in group.run_ids] == [one.run_id for one in futures]


def test_groups_of_a_map_are_cut_by_their_bytes(
    silent: LoopbackSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskyard._engine.submission.submitting.BYTES_PER_FRAME", 100)
    mapped(silent.scope(), ["x" * 200] * 3)
    assert [len(group.run_ids) for group in groups(silent)] == [1, 1, 1]


def test_a_flow_that_keeps_its_futures_keeps_those_of_a_map(silent: LoopbackSession) -> None:
    scope = silent.scope(keep_futures=True)
    futures = mapped(scope, [1, 2])
    assert scope.kept_futures == list(futures)


def test_children_depend_on_the_run_that_says_how_many_they_are(silent: LoopbackSession) -> None:
    scope = silent.scope()
    upstream: Future[object] = submit_one(double, scope, ([1, 2],), {})
    upstream.settle(dumps([1, 2]))
    mapped(scope, upstream)
    group = groups(silent)[-1]
    kind = UpstreamKind.ORDER_OR_FAILURE
    assert edges(group) == [(0, upstream.run_id, kind), (1, upstream.run_id, kind)]


def test_large_arguments_of_a_child_are_stored(silent: LoopbackSession) -> None:
    mapped(silent.scope(), [b"x" * 100_000, b"y"])
    [group] = groups(silent)
    [extra] = group.extras
    [ref] = extra.payload.values
    assert (extra.position, len(extra.payload.data) < 1_000) == (0, True)
    assert decode(silent.stored.download(ref), BUFFERS) == b"x" * 100_000
    assert (group.args[0], loads(group.args[1])) == (b"", ((b"y",), {}))


def test_states_to_map_over_stand_for_their_values(silent: LoopbackSession) -> None:
    mapped(silent.scope(), [Completed(data=3), 4])
    [group] = groups(silent)
    assert [loads(data)[0] for data in group.args] == [(3,), (4,)]


def test_states_among_the_keywords_of_a_map_stand_for_their_values(silent: LoopbackSession) -> None:
    both = task(lambda x, y: (x, y))
    submit_many(both, silent.scope(), expand(both.signature, ([1, 2],), {"y": Completed(data=3)}))
    submit_many(both, silent.scope(), expand(both.signature, (1,), {"y": [Completed(data=3), 4]}))
    found = [loads(data) for group in groups(silent) for data in group.args]
    assert found == [((1,), {"y": 3}), ((2,), {"y": 3}), ((1,), {"y": 3}), ((1,), {"y": 4})]


def test_only_open_futures_of_a_scope_are_its_open_futures(silent: LoopbackSession) -> None:
    mine, other = silent.scope(), silent.scope()
    first, second = submit_one(double, mine, (1,), {}), submit_one(double, mine, (2,), {})
    submit_one(double, other, (3,), {})
    assert mine.open_futures() == [first, second]
