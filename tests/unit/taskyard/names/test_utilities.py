"""Small helpers under the names that ported programs import."""

import asyncio
import functools
import hashlib
import pickle
import threading
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from taskyard.exceptions import ParameterBindError, ReservedArgumentError, SignatureMismatchError
from taskyard.utilities.annotations import Annotation, BaseAnnotation, quote, unmapped
from taskyard.utilities.asyncutils import (
    asyncnullcontext,
    gather,
    in_async_main_thread,
    is_async_fn,
    is_async_gen_fn,
    run_coro_as_sync,
    run_sync_in_worker_thread,
    sync_compatible,
)
from taskyard.utilities.callables import (
    call_with_parameters,
    cloudpickle_wrapped_call,
    collapse_variadic_parameters,
    explode_variadic_parameter,
    get_call_parameters,
    get_parameter_defaults,
    parameter_schema,
    parameters_to_args_kwargs,
    raise_for_reserved_arguments,
)
from taskyard.utilities.collections import (
    AutoEnum,
    StopVisiting,
    batched_iterable,
    deep_merge,
    deep_merge_dicts,
    dict_to_flatdict,
    distinct,
    ensure_iterable,
    extract_instances,
    flatdict_to_dict,
    get_from_dict,
    isiterable,
    listrepr,
    remove_nested_keys,
    set_in_dict,
    visit_collection,
)
from taskyard.utilities.hashing import file_hash, hash_objects, stable_hash


class Colour(AutoEnum):
    RED = AutoEnum.auto()


@dataclass(frozen=True)
class Pair:
    left: Any
    right: Any


class Model(BaseModel):
    inner: Any


def doubled(value: Any) -> Any:
    return value * 2 if isinstance(value, int) else value


def test_the_values_of_an_enumeration_are_its_names() -> None:
    assert (Colour.RED.value, repr(Colour.RED), Colour("RED")) == ("RED", "Colour.RED", Colour.RED)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (1, 2),
        ([1, (2, {3})], [2, (4, {6})]),
        ({1: [1], "a": 2}, {2: [2], "a": 4}),
        (Pair(1, [2]), Pair(2, [4])),
        (unmapped([1]), unmapped([2])),
        (iter, iter),
    ],
)
def test_a_visit_sees_everything_and_may_change_it(given: object, expected: object) -> None:
    assert visit_collection(given, doubled, return_data=True) == expected
    assert visit_collection(given, doubled) is None


def test_a_model_of_pydantic_is_visited() -> None:
    assert visit_collection(Model(inner=[1]), doubled, return_data=True) == Model(inner=[2])


def test_what_does_not_change_stays_the_same_object() -> None:
    value = {"a": [Pair("x", "y")], "b": quote("z")}
    assert visit_collection(value, lambda part: part, return_data=True) is value


def test_a_visit_stops_where_it_is_told_to() -> None:
    seen = []

    def visit(part: Any) -> Any:
        seen.append(part)
        if isinstance(part, tuple):
            raise StopVisiting
        return part

    visit_collection([(1,), [2]], visit)
    assert seen == [[(1,), [2]], (1,), [2], 2]


def test_a_visit_goes_no_deeper_than_asked() -> None:
    assert visit_collection([1, [2, [3]]], doubled, return_data=True, max_depth=1) == [2, [2, [3]]]


def test_a_value_that_holds_itself_is_entered_once() -> None:
    value: list[Any] = [1]
    value.append(value)
    assert visit_collection(value, doubled, return_data=True)[0] == 2


def test_a_visit_knows_the_annotation_around_and_may_take_it_off() -> None:
    around = []

    def visit(part: Any, context: dict[str, Any]) -> Any:
        around.append((part, type(context.get("annotation"))))
        return part

    assert visit_collection([quote(1)], visit, True, context={}, remove_annotations=True) == [1]
    assert around[-1] == (1, quote)


def test_what_can_be_iterated_over() -> None:
    assert [isiterable(x) for x in ([], {}, range(2), "ab", b"ab", 1)] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]
    assert (ensure_iterable(1), ensure_iterable([1]), ensure_iterable({1})) == ([1], [1], {1})
    assert list(batched_iterable(range(5), 2)) == [(0, 1), (2, 3), (4,)]
    assert list(distinct([1, 2, 1])) == [1, 2]
    assert list(distinct(["a", "A"], key=str.lower)) == ["a"]
    assert listrepr([1, "a"], ", ") == "1, 'a'"
    assert extract_instances([1, "a", 2], int) == [1, 2]
    assert extract_instances([1, "a", 2.0], (int, str)) == {int: [1], str: ["a"]}


def test_dictionaries_in_dictionaries() -> None:
    whole = {"a": {"b": 1, "c": {"d": 2}}, "e": 3, "f": {}}
    flat = {("a", "b"): 1, ("a", "c", "d"): 2, ("e",): 3, ("f",): {}}
    assert dict_to_flatdict(whole) == flat
    assert flatdict_to_dict(flat) == whole
    assert remove_nested_keys(["b", "e"], whole) == {"a": {"c": {"d": 2}}, "f": {}}
    assert remove_nested_keys(["b"], 1) == 1
    assert get_from_dict({"a": [{"b": 1}]}, "a[0].b") == get_from_dict(whole, ["a", "b"]) == 1
    assert get_from_dict(whole, "a.x.y", default=7) == 7
    made: dict[str, Any] = {}
    set_in_dict(made, "a.b", 1)
    assert made == {"a": {"b": 1}}
    with pytest.raises(TypeError, match="no dictionary"):
        set_in_dict({"a": 1}, "a.b", 1)
    assert deep_merge({"a": {"b": 1}, "c": 1}, {"a": {"d": 2}, "c": 2}) == {"a": {"b": 1, "d": 2}, "c": 2}
    assert deep_merge_dicts({"a": 1}, {"a": 2}, {"b": 3}) == {"a": 2, "b": 3}


def example(a: int, b: int = 2, *rest: int, **named: int) -> tuple[Any, ...]:
    return a, b, rest, named


def test_arguments_become_parameters_and_arguments_again() -> None:
    parameters = get_call_parameters(example, (1,), {"x": 3})
    assert parameters == {"a": 1, "b": 2, "rest": (), "named": {"x": 3}}
    assert get_call_parameters(example, (1,), {}, apply_defaults=False) == {"a": 1}
    assert parameters_to_args_kwargs(example, parameters) == ((1, 2), {"x": 3})
    assert call_with_parameters(example, parameters) == (1, 2, (), {"x": 3})
    assert get_parameter_defaults(example) == {"b": 2}
    with pytest.raises(ParameterBindError, match="missing a required argument: 'a'"):
        get_call_parameters(example, (), {})
    with pytest.raises(SignatureMismatchError, match="no parameters named z"):
        parameters_to_args_kwargs(example, {"z": 1})


def test_parameters_of_variadic_functions() -> None:
    apart = {"a": 1, "x": 3, "y": 4}
    together = {"a": 1, "named": {"x": 3, "y": 4}}
    assert explode_variadic_parameter(example, together) == apart
    assert collapse_variadic_parameters(example, apart) == together
    assert explode_variadic_parameter(doubled, {"value": 1}) == {"value": 1}
    assert collapse_variadic_parameters(doubled, {"value": 1}) == {"value": 1}
    with pytest.raises(ValueError, match=r"does not include any variadic keyword argument .*: y$"):
        collapse_variadic_parameters(doubled, {"value": 1, "y": 2})


def test_row_32_reserved_names_are_refused() -> None:
    raise_for_reserved_arguments(example, ["wait_for"])
    with pytest.raises(ReservedArgumentError, match="'b' is a reserved argument name and cannot be used"):
        raise_for_reserved_arguments(example, ["x", "b"])


def test_a_call_travels_that_pickle_alone_refuses() -> None:
    factor = 3
    call = cloudpickle_wrapped_call(lambda x: x * factor, 2)
    assert pickle.loads(pickle.loads(pickle.dumps(call))()) == 6


def test_digests_are_equal_everywhere(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"ab")
    assert stable_hash("a", b"b") == file_hash(tmp_path / "f") == hashlib.md5(b"ab").hexdigest()
    assert stable_hash("ab", hash_algo=hashlib.sha256) == hashlib.sha256(b"ab").hexdigest()
    assert hash_objects([1], a=2) == hash_objects([1], a=2) != hash_objects([1], a=3)


async def shown(x: int) -> int:
    await asyncio.sleep(0)
    return x


async def numbers() -> Any:
    yield 1


def test_what_is_asynchronous() -> None:
    assert [is_async_fn(f) for f in (shown, functools.partial(shown, 1), numbers, example)] == [
        True,
        True,
        False,
        False,
    ]
    assert [is_async_gen_fn(f) for f in (numbers, shown)] == [True, False]

    async def inside() -> bool:
        return in_async_main_thread()

    assert (in_async_main_thread(), asyncio.run(inside())) == (False, True)


def test_a_coroutine_is_run_from_anywhere() -> None:
    assert run_coro_as_sync(shown(1)) == 1

    async def main() -> int:
        return run_coro_as_sync(shown(2))

    assert asyncio.run(main()) == 2


def test_a_sync_compatible_function_is_awaited_only_where_a_loop_runs() -> None:
    both = sync_compatible(shown)

    async def main() -> tuple[int, int]:
        return await both(1), both(2, _sync=True)

    assert (both(3), asyncio.run(main())) == (3, (1, 2))
    assert both.aio is shown  # type: ignore[attr-defined]  # as it is documented
    with pytest.raises(TypeError, match="must be async"):
        sync_compatible(example)  # type: ignore[arg-type]  # the mistake under test


def test_a_worker_thread_has_the_context_of_its_caller() -> None:
    variable: ContextVar[int] = ContextVar("variable", default=0)

    async def main() -> tuple[int, bool]:
        variable.set(5)
        return await run_sync_in_worker_thread(
            lambda: (variable.get(), threading.current_thread() is main_thread)
        )

    main_thread = threading.current_thread()
    assert asyncio.run(main()) == (5, False)


def test_gathered_calls_run_at_once_and_answer_in_order() -> None:
    async def main() -> list[int]:
        barrier = asyncio.Barrier(2)

        async def one(x: int) -> int:
            await barrier.wait()
            return x

        return await gather(lambda: one(1), lambda: one(2))

    assert asyncio.run(main()) == [1, 2]


def test_the_annotation_of_ported_programs() -> None:
    assert BaseAnnotation is Annotation
    assert isinstance(quote(1), BaseAnnotation)


def test_parameters_have_a_schema() -> None:
    schema = parameter_schema(example)
    assert (schema.required, schema.properties["b"]["default"]) == (["a"], 2)


def test_a_block_that_does_nothing_gives_its_value() -> None:
    async def main() -> int:
        async with asyncnullcontext(3) as value:
            return int(value)

    assert asyncio.run(main()) == 3
