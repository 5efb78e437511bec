from typing import Any

import pytest

from taskyard._engine.definitions.run_names import render_run_name
from taskyard._engine.definitions.signatures import CallSignature
from taskyard.exceptions import ParameterBindError


def f(x: int, y: int = 2) -> None: ...
def g(x: int, /, *rest: int, key: int = 5, **named: int) -> None: ...
def h() -> None: ...


@pytest.mark.parametrize(
    ("fn", "args", "kwargs", "bound"),
    [
        (f, (1,), {}, {"x": 1, "y": 2}),
        (f, (1, 3), {}, {"x": 1, "y": 3}),
        (f, (), {"y": 3, "x": 1}, {"x": 1, "y": 3}),
        (g, (1, 2, 3), {"a": 4}, {"x": 1, "rest": (2, 3), "key": 5, "named": {"a": 4}}),
        (g, (1,), {}, {"x": 1, "rest": (), "key": 5, "named": {}}),
        (h, (), {}, {}),
    ],
)
def test_row_39_arguments_by_name_include_defaults(
    fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any], bound: dict[str, Any]
) -> None:
    parameters = CallSignature(fn).bind(args, kwargs)
    assert parameters == bound
    assert list(parameters) == list(bound)


def test_defaults_may_be_left_out() -> None:
    assert CallSignature(f).bind((1,), {}, defaults=False) == {"x": 1}
    assert CallSignature(f).bind((), {"x": 1}, defaults=False) == {"x": 1}


@pytest.mark.parametrize(
    ("args", "kwargs", "why"),
    [
        ((), {}, "missing a required argument: 'x'"),
        ((1, 2, 3), {}, "too many positional arguments"),
        ((1,), {"z": 3}, "unexpected keyword argument 'z'"),
        ((1,), {"x": 3}, "multiple values for argument 'x'"),
    ],
)
def test_row_39_bad_arguments_are_refused_in_every_way(
    args: tuple[Any, ...], kwargs: dict[str, Any], why: str
) -> None:
    signature = CallSignature(f)
    for call in (signature.bind, signature.check):
        with pytest.raises(ParameterBindError, match=f"cannot bind the arguments of 'f': .*{why}"):
            call(args, kwargs)


@pytest.mark.parametrize(
    ("fn", "args", "kwargs"), [(f, (1, 2), {}), (g, (1, 2, 3), {"key": 4, "a": 6}), (h, (), {})]
)
def test_parameters_become_the_same_call_again(
    fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    assert CallSignature(fn).split(CallSignature(fn).bind(args, kwargs)) == (args, kwargs)


def test_parameters_the_function_lacks_are_named() -> None:
    with pytest.raises(ParameterBindError, match="'f' has no parameters named a, b"):
        CallSignature(f).split({"x": 1, "b": 2, "a": 3})


def test_builtins_without_a_signature_take_everything() -> None:
    assert CallSignature(iter).bind(([1],), {}) == {"args": ([1],), "kwargs": {}}


def test_row_8_run_names_are_rendered() -> None:
    assert render_run_name("{x}-{y:03d}", {"x": 1, "y": 2}) == "1-002"
    assert render_run_name(lambda: "fixed", {"x": 1}) == "fixed"
    assert render_run_name(lambda parameters: f"x={parameters['x']}", {"x": 1}) == "x=1"


def test_row_8_a_run_name_is_a_string() -> None:
    with pytest.raises(TypeError, match="'task_run_name' must return a string, its callable returned int"):
        render_run_name(lambda: 3, {})  # type: ignore[arg-type,return-value]  # the mistake under test
