"""A name leads to the function, whatever is wrapped around it, or to an error that says what is wrong."""

from typing import Any

import pytest
from support import named_code as code

from taskyard_contract.code_references import callable_at, function_at

MODULE = "support.named_code"
INNER = vars(code.Outer.Inner)

FUNCTIONS = {
    "plain": code.plain,
    "decorated": code.decorated.fn,
    "twice": code.plain,
    "of_flow": code.plain,
    "Outer.Inner.method": INNER["method"],
    "Outer.Inner.static": INNER["static"].__func__,
    "Outer.Inner.of_class": INNER["of_class"].__func__,
    "Outer.Inner.task_of_static": INNER["task_of_static"].fn,
    "Outer.Inner.static_of_task": INNER["static_of_task"].__func__.fn,
    "Outer.Inner.task_of_class": INNER["task_of_class"].fn,
    "Outer.Inner.class_of_task": INNER["class_of_task"].__func__.fn,
    "Heir.static": INNER["static"].__func__,
    "Heir.of_class": INNER["of_class"].__func__,
    "Outer.Inner": code.Outer.Inner,
    "Outer": code.Outer,
    "whole": code.whole,
    "whole.method": code.Whole.method,
}


@pytest.mark.parametrize("qualname", FUNCTIONS)
def test_a_name_leads_to_the_function_that_was_written(qualname: str) -> None:
    assert function_at(f"{MODULE}:{qualname}") is FUNCTIONS[qualname]


CALLED: dict[str, Any] = {
    "plain": 2,
    "decorated": 12,
    "twice": 2,
    "of_flow": 2,
    "Outer.Inner.static": 32,
    "Outer.Inner.of_class": ("Inner", 2),
    "Outer.Inner.task_of_static": 42,
    "Outer.Inner.static_of_task": 52,
    "Outer.Inner.task_of_class": ("Inner", 2),
    "Outer.Inner.class_of_task": ("Inner", 2),
    "Heir.of_class": ("Heir", 2),
    "Heir.task_of_class": ("Heir", 2),
    "whole": 62,
    "whole.method": 72,
}


@pytest.mark.parametrize("qualname", CALLED)
def test_what_is_called_takes_the_arguments_of_the_run_alone(qualname: str) -> None:
    assert callable_at(f"{MODULE}:{qualname}")(2) == CALLED[qualname]


def test_installed_functions_are_found() -> None:
    import json

    assert function_at("json.decoder:JSONDecoder.decode") is json.JSONDecoder.decode


@pytest.mark.parametrize("find", [function_at, callable_at])
@pytest.mark.parametrize(
    ("reference", "error", "words"),
    [
        ("plain", ValueError, "'plain' is not a code reference; expected 'module:qualname'"),
        ("", ValueError, "not a code reference"),
        (":plain", ValueError, "not a code reference"),
        (f"{MODULE}:", ValueError, "not a code reference"),
        (f"{MODULE}:Outer..method", ValueError, "not a code reference"),
        ("no_such_module:f", ImportError, "module of 'no_such_module:f' cannot be imported here: No module"),
        ("support.nothing_here:f", ImportError, "support.nothing_here"),
        (f"{MODULE}:missing", AttributeError, f"names nothing: '{MODULE}' has no 'missing'"),
        (f"{MODULE}:Outer.Inner.missing", AttributeError, "names nothing: 'Outer.Inner' has no 'missing'"),
        (f"{MODULE}:whole.missing", AttributeError, "names nothing: 'Whole' has no 'missing'"),
        (f"{MODULE}:number", TypeError, f"'{MODULE}:number' is a int, which cannot be called"),
    ],
)
def test_a_wrong_name_is_told_with_what_is_wrong(
    find: Any, reference: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as caught:
        find(reference)
    assert words in str(caught.value)


def test_an_object_with_every_attribute_is_not_unwrapped_for_ever() -> None:
    assert callable(function_at(f"{MODULE}:mock"))
