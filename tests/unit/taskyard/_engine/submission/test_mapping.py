import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.origins import nowhere

from taskyard._engine.definitions.signatures import CallSignature
from taskyard._engine.submission.mapping import Call, expand
from taskyard.exceptions import (
    MappingLengthMismatch,
    MappingMissingIterable,
    ParameterBindError,
    UpstreamTaskError,
)
from taskyard.futures import Future
from taskyard.states import Completed, Failed, NotReady, Pending, State
from taskyard.utilities.annotations import allow_failure, opaque, quote, unmapped

RUN = bytes(range(16))


class FutureDouble(Future[Any]):
    def __init__(self, state: State[Any]) -> None:
        super().__init__(RUN, nowhere())
        self._now = state
        self.asked = 0

    @property
    def state(self) -> State[Any]:
        return self._now

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> Any:
        self.asked += 1
        if not self.state.is_final():
            raise ConnectionError("the connection broke")
        return self.state.result(raise_on_failure)


def f(x: object, y: object = 1) -> None: ...


def children(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> list[Call]:
    expansion = expand(CallSignature(fn), args, kwargs)
    calls = list(expansion.calls)
    assert len(calls) == expansion.count
    return calls


def test_b8_one_iterable_gives_one_child_per_element() -> None:
    assert children(f, [1, 2]) == [((1,), {}), ((2,), {})]
    assert children(f, x=[1, 2]) == [((), {"x": 1}), ((), {"x": 2})]


def test_b8_iterables_are_zipped_and_everything_else_is_the_same_for_all() -> None:
    assert children(f, [1, 2], [3, 4]) == [((1, 3), {}), ((2, 4), {})]
    assert children(f, 0, [3, 4]) == [((0, 3), {}), ((0, 4), {})]
    assert children(f, [1, 2], y=5) == [((1,), {"y": 5}), ((2,), {"y": 5})]
    assert children(f, 0, y=[5, 6]) == [((0,), {"y": 5}), ((0,), {"y": 6})]
    assert children(f, x=0, y=[5, 6]) == [((), {"x": 0, "y": 5}), ((), {"x": 0, "y": 6})]


@pytest.mark.parametrize("scalar", ["ab", b"ab", io.StringIO("ab"), 3, None])
def test_b8_strings_bytes_and_files_are_scalars(scalar: object) -> None:
    assert children(f, scalar, [1, 2]) == [((scalar, 1), {}), ((scalar, 2), {})]


def test_b8_any_other_iterable_is_mapped_and_dicts_over_their_keys() -> None:
    def numbers() -> Iterator[int]:
        yield from (1, 2)

    for iterable in (numbers(), range(1, 3), (1, 2), {1: "a", 2: "b"}):
        assert children(f, iterable) == [((1,), {}), ((2,), {})]


def test_b8_defaults_are_not_mapped() -> None:
    def g(x: object, y: tuple[int, ...] = (1, 2, 3)) -> None: ...

    assert children(g, [1]) == [((1,), {})]


def test_b8_variadic_parameters_are_mapped_one_by_one() -> None:
    def g(*xs: object, **named: object) -> None: ...

    assert children(g, [1, 2], [3, 4], a=[5, 6], b=7) == [
        ((1, 3), {"a": 5, "b": 7}),
        ((2, 4), {"a": 6, "b": 7}),
    ]


def test_b9_unmapped_is_passed_whole() -> None:
    assert children(f, unmapped([1, 2]), [3]) == [(([1, 2], 3), {})]


@pytest.mark.parametrize("kind", [allow_failure, quote, opaque])
def test_b8_annotations_are_split_and_put_on_each_element(kind: Any) -> None:
    assert children(f, kind([1, 2])) == [((kind(1),), {}), ((kind(2),), {})]
    assert children(f, kind(1), [2]) == [((kind(1), 2), {})]


def test_b8_an_empty_list_gives_no_children() -> None:
    assert children(f, []) == []


def test_b8_nothing_to_map_over() -> None:
    with pytest.raises(MappingMissingIterable, match=r"at least one iterable.*\['x', 'y'\]"):
        children(f, 1, y="ab")


def test_b8_unequal_lengths_are_named() -> None:
    with pytest.raises(MappingLengthMismatch, match=r"\{'x': 3, 'y': 2\}"):
        children(f, [1, 2, 3], y=[1, 2])


def test_lengths_of_variadic_arguments_are_named() -> None:
    def g(x: object, *more: object) -> None: ...

    with pytest.raises(MappingLengthMismatch, match=r"\{'x': 1, 'more\[0\]': 2, 'more\[1\]': 1\}"):
        children(g, [1], [1, 2], [1])


def test_row_39_arguments_that_do_not_fit_are_refused_before_anything_else() -> None:
    future = FutureDouble(Completed(data=[1]))
    with pytest.raises(ParameterBindError):
        children(f, future, z=1)
    assert future.asked == 0


def test_row_46_a_list_of_futures_is_mapped_without_waiting() -> None:
    futures = [FutureDouble(Pending()), FutureDouble(Pending())]
    assert children(f, futures) == [((futures[0],), {}), ((futures[1],), {})]
    assert [future.asked for future in futures] == [0, 0]


def test_row_45_a_future_of_a_list_is_resolved_first_and_remembered() -> None:
    future = FutureDouble(Completed(data=[1, 2]))
    expansion = expand(CallSignature(f), (future,), {})
    assert list(expansion.calls) == [((1,), {}), ((2,), {})]
    assert expansion.resolved == (future,)


def test_a_state_of_a_list_is_resolved_too() -> None:
    assert children(f, Completed(data=[1])) == [((1,), {})]


@pytest.mark.parametrize("state", [Failed(data=ValueError("bad")), Failed(message="bad")])
def test_b7_mapping_over_a_failed_run(state: State[Any]) -> None:
    with pytest.raises(
        UpstreamTaskError, match="'00010203-0405-0607-0809-0a0b0c0d0e0f' did not reach a 'COMPLETED' state"
    ) as raised:
        children(f, FutureDouble(state))
    assert raised.value.__cause__ is not None


def test_b7_mapping_over_a_run_that_never_starts() -> None:
    with pytest.raises(UpstreamTaskError):
        children(f, FutureDouble(NotReady()))


def test_a_broken_connection_is_not_blamed_on_the_run() -> None:
    with pytest.raises(ConnectionError):
        children(f, FutureDouble(Pending()))


def test_b9_allow_failure_of_a_failed_future_is_a_scalar_exception() -> None:
    error = ValueError("bad")
    assert children(f, allow_failure(FutureDouble(Failed(data=error))), [1]) == [
        ((allow_failure(error), 1), {})
    ]


def test_changing_the_list_afterwards_changes_nothing() -> None:
    values = [1, 2]
    expansion = expand(CallSignature(f), (values,), {})
    values.append(3)
    assert len(list(expansion.calls)) == expansion.count == 2
