import pickle
from typing import Any

import pytest
from support.origins import nowhere

from taskyard._data.values.awaited import AwaitedRun
from taskyard.exceptions import NotPicklable
from taskyard.utilities.annotations import Annotation, NotSet, allow_failure, opaque, quote, unmapped
from taskyard_contract import pickling, references
from taskyard_contract.states import UpstreamKind

KINDS: list[type[Annotation[Any]]] = [unmapped, allow_failure, quote, opaque]


A, B = (AwaitedRun(name.ljust(16, b"\0"), nowhere()) for name in (b"a", b"b"))


def travel(argument: object, values: dict[AwaitedRun, object] | None = None) -> tuple[Any, dict[bytes, int]]:
    """Send an argument to a worker; returns what the task receives, and the upstream runs."""
    with references.collecting() as upstream:
        data = pickling.dumps(argument)
    with references.resolving({future.run_id: value for future, value in (values or {}).items()}):
        return pickle.loads(data), upstream


@pytest.mark.parametrize("kind", KINDS)
def test_b9_annotations_wrap_and_unwrap(kind: type[Annotation[Any]]) -> None:
    wrapped = kind([1])
    assert wrapped.unwrap() == [1]
    assert wrapped.rewrap(2) == kind(2)
    assert wrapped != [1]
    assert repr(wrapped) == f"{kind.__name__}([1])"
    assert hash(kind(1)) == hash(kind(1))


def test_annotations_of_different_kinds_differ() -> None:
    assert quote(1) != opaque(1)


def test_unmapped_gives_its_value_for_every_index() -> None:
    assert unmapped(5)[0] == unmapped(5)[99] == 5


@pytest.mark.parametrize("kind", KINDS)
def test_b9_a_task_receives_the_bare_value(kind: type[Annotation[Any]]) -> None:
    assert travel({"x": [kind({"y": 1})]}) == ({"x": [{"y": 1}]}, {})


@pytest.mark.parametrize("kind", KINDS)
def test_outside_of_arguments_annotations_stay(kind: type[Annotation[Any]]) -> None:
    assert pickle.loads(pickle.dumps(kind([1]))) == kind([1])


def test_b9_allow_failure_admits_the_exception_of_a_future() -> None:
    error = ValueError("upstream")
    received, upstream = travel((allow_failure(A), B), {A: error, B: 2})
    assert received == (error, 2)
    assert upstream == {A.run_id: UpstreamKind.DATA_OR_FAILURE, B.run_id: UpstreamKind.DATA}


def test_b9_allow_failure_reaches_futures_at_any_depth() -> None:
    received, upstream = travel(allow_failure({"all": [A, B]}), {A: 1, B: 2})
    assert received == {"all": [1, 2]}
    assert set(upstream.values()) == {UpstreamKind.DATA_OR_FAILURE}


def test_b9_allow_failure_inside_another_annotation_is_seen() -> None:
    _, upstream = travel(unmapped(allow_failure(A)), {A: 1})
    assert upstream == {A.run_id: UpstreamKind.DATA_OR_FAILURE}


def test_allow_failure_of_values_from_the_main_module_goes_by_value() -> None:
    def local() -> int:
        return 3

    received, _ = travel(allow_failure(local))
    assert received() == 3


@pytest.mark.parametrize("kind", [quote, opaque])
def test_b9_quoted_values_may_not_hold_futures(kind: type[Annotation[Any]]) -> None:
    with pytest.raises(NotPicklable, match=rf"{kind.__name__}\(\) holds 1 futures"):
        travel(kind([A]))


def test_b9_opaque_resolves_the_value_itself() -> None:
    received, upstream = travel(opaque(A), {A: [1, 2]})
    assert received == [1, 2]
    assert upstream == {A.run_id: UpstreamKind.DATA}


def test_a_failed_quote_leaves_collecting_as_it_was() -> None:
    with references.collecting() as upstream:
        with pytest.raises(NotPicklable):
            pickle.dumps(quote(A))
        pickle.dumps(B)
    assert upstream == {B.run_id: UpstreamKind.DATA}


def test_not_set_is_one_false_object_everywhere() -> None:
    assert pickle.loads(pickle.dumps(NotSet)) is NotSet
    assert not NotSet
    assert repr(NotSet) == "NotSet"
