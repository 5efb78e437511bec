"""Arguments are refused before a run exists, and futures in them become upstream edges."""

import threading
from dataclasses import dataclass
from typing import Any

import pytest
from support.loopback import LoopbackSession

from taskyard._data.values.hashing import hash_objects
from taskyard._engine.submission.arguments import add_order, offload, pack
from taskyard._engine.submission.mapping import expand
from taskyard._engine.submission.submitting import submit_many, submit_one
from taskyard.exceptions import FlowTimedOut, NotPicklable, PayloadTooLarge
from taskyard.futures import Future
from taskyard.states import Completed
from taskyard.tasks import task
from taskyard.utilities.annotations import allow_failure, quote
from taskyard_contract.id_factory import new_id
from taskyard_contract.states import UpstreamKind


@task
def identity(value: Any) -> Any:
    return value


def future_of(session: LoopbackSession) -> Future[Any]:
    return Future(new_id(), session.scope())


@dataclass
class Holder:
    inside: Any


def test_a_call_without_arguments_takes_no_bytes() -> None:
    assert pack("t", (), {}, {}) == b""


@pytest.mark.parametrize("wrap", [lambda f: f, lambda f: [{"k": (f,)}], lambda f: Holder({f})])
def test_row_56_futures_at_any_depth_are_upstream_runs(session: LoopbackSession, wrap: Any) -> None:
    future, upstream = future_of(session), dict[bytes, int]()
    pack("t", (wrap(future),), {}, upstream)
    assert upstream == {future.run_id: UpstreamKind.DATA}


def test_row_44_allow_failure_admits_failures(session: LoopbackSession) -> None:
    future, upstream = future_of(session), dict[bytes, int]()
    pack("t", (allow_failure([future]),), {}, upstream)
    assert upstream == {future.run_id: UpstreamKind.DATA_OR_FAILURE}


def test_row_97_the_path_of_what_cannot_be_pickled_is_named() -> None:
    with pytest.raises(NotPicklable, match=r"cannot submit 'load': options\['a'\]\[1\]\.inside \(a lock\)"):
        pack("load", (1,), {"options": {"a": [0, Holder(threading.Lock())]}}, {})


def test_positional_arguments_are_named_by_position() -> None:
    with pytest.raises(NotPicklable, match=r"argument 1\[0\]"):
        pack("load", (1, [threading.Lock()]), {}, {})


def test_a_refused_call_leaves_no_run(session: LoopbackSession) -> None:
    with pytest.raises(NotPicklable):
        submit_one(identity, session.scope(), (threading.Lock(),), {})
    assert session.script.submitted == []
    assert session.in_flight.outstanding() == []


def test_a_refused_child_leaves_no_siblings(session: LoopbackSession) -> None:
    expansion = expand(identity.signature, ([1, threading.Lock()],), {})
    with pytest.raises(NotPicklable, match="argument 0"):
        submit_many(identity, session.scope(), expansion)
    assert session.script.submitted == []


def test_large_arguments_become_a_blob(session: LoopbackSession) -> None:
    value = b"x" * 200_000
    assert submit_one(identity, session.scope(), (value,), {}).result(0) == value
    assert len(session.stored.blobs) >= 1
    assert len(session.script.submitted) == 1


def test_a_large_child_of_a_map_becomes_a_blob(session: LoopbackSession) -> None:
    values = [b"a", b"x" * 200_000, b"b"]
    futures = submit_many(identity, session.scope(), expand(identity.signature, (values,), {}))
    assert futures.result(0) == values


def test_what_the_server_would_not_take_is_refused_here(session: LoopbackSession) -> None:
    with pytest.raises(PayloadTooLarge, match="at most 1,000,000") as caught:
        submit_one(identity, session.scope(), (b"x" * 1_000_001,), {})
    assert caught.value.limit == 1_000_000
    assert session.script.submitted == []


class TimeIsUp:
    """An argument during whose pickling, the first time, the time of the flow is up."""

    def __init__(self) -> None:
        self.up = False

    def __reduce__(self) -> tuple[Any, ...]:
        self.up, earlier = True, self.up
        if not earlier:
            raise FlowTimedOut
        return TimeIsUp, ()


def test_the_end_of_a_flows_time_is_not_taken_for_a_fault_of_arguments(session: LoopbackSession) -> None:
    with pytest.raises(FlowTimedOut):
        submit_one(identity, session.scope(), (TimeIsUp(),), {})
    with pytest.raises(FlowTimedOut):
        submit_many(identity, session.scope(), expand(identity.signature, ([TimeIsUp()],), {}))
    assert session.script.submitted == []


def test_the_end_of_a_flows_time_is_not_taken_for_a_fault_of_code(session: LoopbackSession) -> None:
    moment = TimeIsUp()

    @task
    def refers() -> object:
        return moment

    with pytest.raises(FlowTimedOut):
        submit_one(refers, session.scope(), (), {})


def test_the_end_of_a_flows_time_is_not_taken_for_a_fault_of_a_cache_key(session: LoopbackSession) -> None:
    with pytest.raises(FlowTimedOut):
        hash_objects(TimeIsUp())

    def late(*_: object) -> str:
        raise FlowTimedOut

    with pytest.raises(FlowTimedOut):
        submit_one(identity.with_options(cache_key_fn=late), session.scope(), (1,), {})


def test_more_upstream_runs_than_a_message_holds_are_refused_here(
    session: LoopbackSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskyard._engine.submission.arguments.MOST_UPSTREAM", 2)
    scope, many = session.scope(keep_futures=True), [future_of(session) for _ in range(3)]
    with pytest.raises(PayloadTooLarge, match="run of 'identity' would depend on 3 runs"):
        submit_one(identity, scope, (many,), {})
    with pytest.raises(PayloadTooLarge, match="in a tree"):
        submit_one(identity, scope, (many[:2],), {}, wait_for=many[2])
    with pytest.raises(PayloadTooLarge):
        submit_many(identity, scope, expand(identity.signature, ([1, 2],), {}), wait_for=many)
    assert (session.script.submitted, scope.kept_futures) == ([], [])


def test_small_arguments_stay_inline(session: LoopbackSession) -> None:
    assert offload("t", b"x" * session.max_inline_bytes, [], session) is None


def test_row_42_wait_for_takes_nested_collections_and_states(session: LoopbackSession) -> None:
    first, second, third = (future_of(session) for _ in range(3))
    third.settle(b"\x80\x05K\x01.")
    given = [first, {"k": (allow_failure(second), third.get_state())}, None, "text"]
    assert add_order({}, given) == {
        first.run_id: UpstreamKind.ORDER,
        second.run_id: UpstreamKind.ORDER_OR_FAILURE,
        third.run_id: UpstreamKind.ORDER,
    }


def test_wait_for_does_not_weaken_a_data_edge(session: LoopbackSession) -> None:
    future = future_of(session)
    assert add_order({future.run_id: UpstreamKind.DATA}, [future]) == {future.run_id: UpstreamKind.DATA}


def test_a_state_among_arguments_stands_for_its_value(session: LoopbackSession) -> None:
    scope = session.scope()
    state = submit_one(identity, scope, (5,), {}).wait(0)
    assert submit_one(identity, scope, (state,), {}).result(0) == 5
    assert submit_one(identity, scope, (Completed(data=6),), {}).result(0) == 6
    mapped = submit_many(identity, scope, expand(identity.signature, ([state, 7],), {}))
    assert mapped.result(0) == [5, 7]


def test_quoted_futures_are_refused(session: LoopbackSession) -> None:
    with pytest.raises(NotPicklable, match="not to be followed"):
        pack("t", (quote([future_of(session)]),), {}, {})
