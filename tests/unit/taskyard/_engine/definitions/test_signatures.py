import re
from typing import Any

import pytest

from taskyard._engine.definitions.run_names import render_run_name
from taskyard._engine.definitions.signatures import CallSignature
from taskyard.exceptions import ConfigurationError, ParameterBindError


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
    assert render_run_name("{x}-{y:03d}", {"x": 1, "y": 2}, "task 't'") == "1-002"
    assert render_run_name(lambda: "fixed", {"x": 1}, "task 't'") == "fixed"
    assert render_run_name(lambda parameters: f"x={parameters['x']}", {"x": 1}, "task 't'") == "x=1"


def test_row_8_a_run_name_is_a_string() -> None:
    with pytest.raises(TypeError, match=r"'task_run_name' of task 't' must return a string, .* returned int"):
        render_run_name(lambda: 3, {}, "task 't'")  # type: ignore[arg-type,return-value]  # the mistake


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{nope}", "there is no parameter 'nope'; the parameters are: x, y"),
        ("{}", "'{}' names no parameter; the parameters are: x, y"),
        ("{x.nope}", "AttributeError: 'int' object has no attribute 'nope'; the"),
        ("{x", "ValueError: expected '}' before end of string; the"),
        ("{y[nope]}", "KeyError: 'nope'; the"),
        ("{x!r:%}", "ValueError: "),
    ],
)
def test_row_8_a_template_that_cannot_be_filled_names_task_option_and_place(template: str, why: str) -> None:
    expected = f"the option task_run_name={template!r} of task 't' cannot be filled: {why}"
    with pytest.raises(ConfigurationError, match=re.escape(expected)):
        render_run_name(template, {"x": 1, "y": {"a": 1}}, "task 't'")


def test_row_61_a_template_of_a_flow_names_the_flow() -> None:
    with pytest.raises(ConfigurationError, match=r"option flow_run_name='{a}' of flow 'f' .* are: none"):
        render_run_name("{a}", {}, "flow 'f'", "flow_run_name")


def test_arguments_that_calls_took_in_prefect_1_are_explained() -> None:
    with pytest.raises(ParameterBindError, match=r"'upstream_tasks': it is wait_for=\[...\] here \(see docs"):
        CallSignature(f).check((1,), {"upstream_tasks": [2]})


def test_a_parameter_with_the_name_of_a_former_argument_is_no_mistake() -> None:
    def takes(mapped: int, x: int) -> None: ...

    CallSignature(takes).check((), {"mapped": 1, "x": 2})
    with pytest.raises(ParameterBindError) as refused:
        CallSignature(takes).check((), {"mapped": 1, "y": 2})
    assert "docs/" not in str(refused.value)
