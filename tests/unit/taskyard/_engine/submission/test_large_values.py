"""Each large argument is stored by itself, once, and the call refers to it."""

from collections.abc import Callable
from typing import Any

import pytest
from support.loopback import LoopbackSession

from taskyard._engine.submission.arguments import pack_large
from taskyard._engine.submission.large_values import LargeValues, StoredValue, refs_in
from taskyard._engine.submission.mapping import expand
from taskyard._engine.submission.submitting import submit_many, submit_one
from taskyard.exceptions import NotPicklable, PayloadTooLarge
from taskyard.futures import Future
from taskyard.tasks import task
from taskyard.utilities.annotations import unmapped
from taskyard_contract.id_factory import new_id
from taskyard_contract.pickling import loads
from taskyard_contract.references import resolving, stored_value
from taskyard_contract.states import UpstreamKind

LARGE = b"x" * 100_000


@task
def both(first: Any, second: Any = None) -> Any:
    return first, second


@task(cache_key_fn=lambda context, parameters: str(len(parameters["first"])), task_run_name="of {second}")
def keyed(first: Any, second: Any = None) -> Any:
    return first, second


def test_small_arguments_stay_in_the_call(session: LoopbackSession) -> None:
    written = pack_large("both", ((1, "x" * 60_000), {}), {}, None, LargeValues("both", session))
    assert (loads(written.data), list(written.refs)) == (((1, "x" * 60_000), {}), [])
    assert not session.stored.blobs


def test_only_what_is_large_is_stored_by_itself(session: LoopbackSession) -> None:
    submit_one(both, session.scope(), (LARGE,), {"second": "small"}).result(0)
    written = pack_large("both", ((LARGE,), {"second": "small"}), {}, None, LargeValues("both", session))
    assert (len(written.refs), len(written.data) < 1_000) == (1, True)
    assert written.refs[0].name in session.stored.blobs


def test_one_value_in_two_places_is_one_blob(session: LoopbackSession) -> None:
    assert submit_one(both, session.scope(), (LARGE,), {"second": LARGE}).result(0) == (LARGE, LARGE)
    written = pack_large("both", ((LARGE, LARGE), {}), {}, None, LargeValues("both", session))
    assert len(written.refs) == 1


def test_many_arguments_that_are_large_together_are_a_blob_of_the_call(session: LoopbackSession) -> None:
    many = [bytes([number]) * 30_000 for number in range(8)]

    @task
    def count(*values: bytes) -> int:
        return sum(map(len, values))

    assert submit_one(count, session.scope(), tuple(many), {}).result(0) == 240_000


@pytest.mark.parametrize("of", [both, keyed], ids=["plain", "with a key and a name"])
def test_what_is_the_same_for_all_children_is_pickled_once(session: LoopbackSession, of: Any) -> None:
    class Counted:
        written = 0

        def __reduce__(self) -> tuple[Any, ...]:
            Counted.written += 1
            return bytes, (LARGE,)

        def __len__(self) -> int:
            return 5

    expansion = expand(of.signature, (unmapped(Counted()), [1, 2, 3]), {})
    assert submit_many(of, session.scope(), expansion).result(0) == [(LARGE, one) for one in (1, 2, 3)]
    assert Counted.written == 1


def test_futures_inside_a_shared_value_are_upstream_of_every_child(session: LoopbackSession) -> None:
    made = submit_one(both, session.scope(), (1,), {})
    expansion = expand(both.signature, (unmapped([made, LARGE]), [1, 2]), {})
    assert submit_many(both, session.scope(), expansion).result(0) == [
        ([(1, None), LARGE], 1),
        ([(1, None), LARGE], 2),
    ]


def test_a_future_inside_a_large_argument_is_upstream(session: LoopbackSession) -> None:
    future, upstream = Future[Any](new_id(), session.scope()), dict[bytes, int]()
    pack_large("both", (([future, LARGE],), {}), upstream, None, LargeValues("both", session))
    assert upstream == {future.run_id: UpstreamKind.DATA}


@pytest.mark.parametrize("call", [lambda v: ((v,), {}), lambda v: ((), {"second": v})])
def test_what_cannot_be_pickled_is_refused_before_anything_is_stored(
    session: LoopbackSession, call: Callable[[Any], Any]
) -> None:
    generator = (one for one in "ab")
    with pytest.raises(NotPicklable, match="generator"):
        pack_large("both", call([LARGE, generator]), {}, None, LargeValues("both", session))
    assert not session.stored.blobs


def test_a_value_that_the_server_does_not_take_is_refused(session: LoopbackSession) -> None:
    with pytest.raises(PayloadTooLarge, match="at most 1,000,000"):
        submit_many(both, session.scope(), expand(both.signature, (unmapped(b"x" * 1_000_001), [1]), {}))
    assert session.script.submitted == []


def test_a_stored_value_is_read_where_there_are_workers_alone() -> None:
    from taskyard_contract import references

    before, references._read_stored = references._read_stored, None
    try:
        with pytest.raises(LookupError, match="stored as b3-x, which only workers read"):
            stored_value("b3-x", 1, 2, "python/pickle5")
    finally:
        references._read_stored = before


def test_stored_values_of_a_call_are_named_once(session: LoopbackSession) -> None:
    large = LargeValues("both", session)
    args, kwargs = large.apart(((LARGE, 1), {"second": LARGE}))
    assert type(args[0]) is StoredValue
    assert args[1] == 1
    assert len(refs_in((args, kwargs))) == 1
    with resolving({}):
        assert large.apart((args, kwargs))[0][0] is args[0]
