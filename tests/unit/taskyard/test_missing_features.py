"""What Prefect 3 has and this release has not is refused by name, never accepted silently."""

import importlib
from typing import Any

import pytest

import taskyard
from taskyard import flow, task


def one(x: int = 1) -> int:
    return x


@pytest.mark.parametrize("name", ["runner", "deployments.runner", "events.filters"])
def test_a_module_that_is_missing_says_what_to_do_instead(name: str) -> None:
    with pytest.raises(ImportError, match=rf"cannot import 'taskyard\.{name}': .+ not in this release; "):
        importlib.import_module(f"taskyard.{name}")


@pytest.mark.parametrize("name", ["Manifest"])
def test_a_name_that_is_missing_says_what_to_do_instead(name: str) -> None:
    with pytest.raises(ImportError, match=rf"cannot import 'taskyard\.{name}': .+ not in this release; "):
        exec(f"from taskyard import {name}")
    assert not hasattr(taskyard, name)


@pytest.mark.parametrize("name", ["nothing", "_nothing.known"])
def test_other_missing_modules_are_as_usual(name: str) -> None:
    with pytest.raises(ModuleNotFoundError, match="No module named"):
        importlib.import_module(f"taskyard.{name}")


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ("assets", "tasks that make assets are decorated with @materialize"),
        ("retris", "did you mean 'retries'?"),
        ("zzz", "the options are .*retries"),
    ],
)
def test_row_1_an_option_that_does_not_exist_is_refused(option: str, why: str) -> None:
    wrong: dict[str, Any] = {option: ["x"]}
    for make in (lambda: task(**wrong)(one), lambda: task(one).with_options(**wrong)):
        with pytest.raises(TypeError, match=f"task 'one' cannot have the option '{option}': .*{why}"):
            make()


def test_row_60_flows_refuse_options_too() -> None:
    for make in (lambda: flow(tags=["x"])(one), lambda: flow(one).with_options(tags=["x"])):  # type: ignore[call-overload,call-arg,misc]
        with pytest.raises(TypeError, match="flow 'one' cannot have the option 'tags': there is none"):
            make()


def test_an_absent_option_that_is_not_used_is_no_error() -> None:
    unused: dict[str, Any] = {"result_storage": None, "result_serializer": None, "asset_deps": None}
    assert task(**unused)(one).name == "one"


@pytest.mark.parametrize(
    ("of", "name", "why"),
    [
        (
            flow(one),
            "delay",
            "flow has no attribute 'delay': deployments and schedules are not in this release",
        ),
        (task(one), "visualize", "flows are drawn"),
        (task(one), "deploy", "deployments and schedules are not in this release"),
        (task(one), "zzz", "a task has no attribute 'zzz'$"),
    ],
)
def test_a_method_that_is_missing_says_what_to_do_instead(of: Any, name: str, why: str) -> None:
    with pytest.raises(AttributeError, match=why):
        getattr(of, name)


def test_row_1_options_can_be_read_where_they_are_in_prefect() -> None:
    made = task(retries=3, retry_delay_seconds=lambda n: [1.0] * n, timeout_seconds=5, on_failure=[print])(
        one
    )
    assert (made.retries, made.retry_delay_seconds, made.timeout_seconds) == (3, [1.0, 1.0, 1.0], 5)
    assert made.on_failure_hooks == [print]
    assert made.with_options(retries=0, retry_delay_seconds=2).retry_delay_seconds == 2


def test_row_47_apply_async_takes_a_tuple_and_a_dict() -> None:
    with pytest.raises(TypeError, match=r"one\.apply_async takes a tuple .* got 1 and None; one\.delay\("):
        task(one).apply_async(1)  # type: ignore[arg-type]
