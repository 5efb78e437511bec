"""What flows are as objects: options, methods, parameters. Rows 60 and 61."""

import asyncio
import copy
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field
from support.loopback import LoopbackSession

from taskyard.exceptions import ParameterBindError, ParameterTypeError, ReservedArgumentError
from taskyard.flows import Flow, flow
from taskyard.states import Completed
from taskyard.task_runners import ThreadPoolTaskRunner
from taskyard.tasks import task
from taskyard_contract import pickling


class Model(BaseModel):
    x: int


@dataclass
class Point:
    x: int
    y: int = 0


@flow(
    name="all of them",
    description="what it does",
    version="7",
    retries=2,
    retry_delay_seconds=3,
    timeout_seconds=4,
    flow_run_name="run {n}",
    validate_parameters=False,
    log_prints=True,
    persist_result=True,
    task_runner=ThreadPoolTaskRunner(max_workers=1),
)
def configured(n: int = 1) -> int:
    """Not this."""
    return n


def test_row_60_options_can_be_read_where_they_are_in_prefect() -> None:
    assert (configured.name, configured.description, configured.version) == (
        "all of them",
        "what it does",
        "7",
    )
    assert (configured.retries, configured.retry_delay_seconds, configured.timeout_seconds) == (2, 3, 4)
    assert (configured.flow_run_name, configured.should_validate_parameters) == ("run {n}", False)
    assert (configured.log_prints, configured.persist_result) == (True, True)
    assert configured.fn(5) == 5
    assert configured.__name__ == "configured"
    assert isinstance(configured.task_runner, ThreadPoolTaskRunner)
    plain = flow(configured.fn)
    assert (plain.name, plain.description, plain.flow_run_name) == ("configured", "Not this.", None)
    assert (plain.retries, plain.retry_delay_seconds, plain.should_validate_parameters) == (0, None, True)


def test_row_60_with_options_replaces_some_and_keeps_the_others() -> None:
    def hook(of: Any, run: Any, state: Any) -> None: ...

    other = configured.with_options(name="other", retries=0, on_failure=[hook])
    assert (other.name, other.retries, other.version, other.flow_run_name) == ("other", 0, "7", "run {n}")
    assert (other.fn, other.on_failure_hooks, configured.on_failure_hooks) == (configured.fn, [hook], [])
    assert other.with_options(name=None).name == "other"


def test_row_64_hooks_can_be_added_by_decorators(session: LoopbackSession) -> None:
    seen: list[str] = []
    made = flow(name="f")(lambda: None)
    for kind in ("completion", "failure", "cancellation", "crashed", "running"):

        def hook(of: Any, run: Any, state: Any, kind: str = kind) -> None:
            seen.append(f"{of.name} {kind}")

        assert getattr(made, f"on_{kind}")(hook) is hook
        assert getattr(made, f"on_{kind}_hooks") == [hook]
    made()
    assert seen == ["f running", "f completion"]


@pytest.mark.parametrize(
    "template", ["{n} of {team}", lambda parameters: "{n} of {team}".format(**parameters)]
)
def test_row_61_runs_are_named_by_a_template_or_a_callable(session: LoopbackSession, template: Any) -> None:
    from taskyard.runtime import flow_run

    named = flow(name="f", flow_run_name=template)(lambda n, team="a": flow_run.name)
    assert named(3) == "3 of a"


def test_row_60_what_functions_are_can_be_asked() -> None:
    @flow
    def generator() -> Iterator[int]:
        yield 1

    @flow
    async def async_generator() -> AsyncIterator[int]:
        yield 1

    @flow
    async def coroutine() -> int:
        return 1

    kinds = [(one.isasync, one.isgenerator) for one in (configured, generator, async_generator, coroutine)]
    assert kinds == [(False, False), (False, True), (True, True), (True, False)]
    assert not any((generator.ismethod, generator.isclassmethod, generator.isstaticmethod))


def test_row_60_generators_give_lists(session: LoopbackSession) -> None:
    @flow
    async def numbers(n: int) -> AsyncIterator[int]:
        for number in range(n):
            yield number

    assert asyncio.run(numbers(3)) == [0, 1, 2]  # type: ignore[arg-type]


class Pipeline:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def __bool__(self) -> bool:
        return False  # an instance counts, whatever it is worth

    @flow
    def run(self, x: int) -> int:
        return self.factor * x

    @classmethod
    @flow
    def outer_class(cls, x: int) -> str:
        return f"{cls.__name__} {x}"

    @flow
    @classmethod
    def inner_class(cls, x: int) -> str:
        return f"{cls.__name__} {x}"

    @staticmethod
    @flow
    def outer_static(x: int) -> int:
        return x

    @flow
    @staticmethod
    def inner_static(x: int) -> int:
        return x

    @flow
    @classmethod
    async def waiting(cls, x: int) -> str:
        return f"{cls.__name__} {x}"


class Derived(Pipeline): ...


def test_row_60_methods_in_both_orders_of_decorators(session: LoopbackSession) -> None:
    made = Derived(3)
    assert made.run("2") == 6  # type: ignore[arg-type]
    for owner in (Derived, made):
        assert (owner.outer_class("1"), owner.inner_class("2")) == ("Derived 1", "Derived 2")  # type: ignore
        assert (owner.outer_static("1"), owner.inner_static("2")) == (1, 2)  # type: ignore
    assert asyncio.run(Derived.waiting(4)) == "Derived 4"  # type: ignore
    assert (made.run.ismethod, Derived.run.ismethod) == (True, False)
    inner: Any = vars(Pipeline)["inner_class"], vars(Pipeline)["inner_static"]
    assert [(one.isclassmethod, one.isstaticmethod) for one in inner] == [(True, False), (False, True)]


def test_row_60_methods_are_still_methods_in_another_process(session: LoopbackSession) -> None:
    inner: Any = vars(Pipeline)["inner_class"]
    again = pickling.loads(pickling.dumps(inner))
    assert again.isclassmethod
    assert again.__get__(None, Derived)(1) == "Derived 1"
    assert pickling.loads(pickling.dumps(Derived(5).run))(2) == 10
    assert copy.copy(inner).isclassmethod


def test_row_61_parameters_are_converted_to_all_kinds_of_types(session: LoopbackSession) -> None:
    @flow
    def main(
        model: Model,
        point: Point,
        day: date,
        small: Annotated[int, Field(lt=10)],
        many: list[int] | None = None,
    ) -> Any:
        return model, point, day, small, many

    given: Any = {"x": "1"}, {"x": "2"}, "2026-01-02", "9", ["4"]
    assert main(*given) == (Model(x=1), Point(2), date(2026, 1, 2), 9, [4])
    assert main(Model(x=1), Point(2), date(2026, 1, 2), 9)[-1] is None
    with pytest.raises(ParameterTypeError, match=r"(?s)point.x: .*small: Input should be less than 10"):
        main(given[0], {"x": "two"}, given[2], 10)  # type: ignore[arg-type]


def test_row_61_parameters_can_be_validated_without_a_run() -> None:
    @flow(validate_parameters=False)
    def main(n: int, *more: int, point: Point, by: int = 2) -> None: ...

    assert main.validate_parameters({"n": "1", "point": {"x": 3}}) == {"n": 1, "point": Point(3)}
    assert main.validate_parameters({"n": 1, "more": ("2",), "point": Point(1), "by": "5"})["by"] == 5
    with pytest.raises(ParameterTypeError, match=r"Flow run received invalid parameters:\n - n: "):
        main.validate_parameters({"n": "one", "point": Point(1)})
    with pytest.raises(ParameterBindError, match="no parameters named other"):
        main.validate_parameters({"n": 1, "point": Point(1), "other": 2})
    with pytest.raises(ParameterBindError, match="missing a required"):
        main.validate_parameters({"n": 1})
    assert Pipeline(2).run.validate_parameters({"x": "4"}) == {"x": 4}


def test_row_61_parameters_can_be_serialized(session: LoopbackSession) -> None:
    bound = Pipeline(2)
    values: dict[str, Any] = {
        "self": bound, "point": Point(1), "model": Model(x=2), "day": date(2026, 1, 2), "odd": object(),
        "state": Completed(data=1), "future": None,
    }  # fmt: skip

    @flow
    def outer() -> Any:
        values["future"] = task(name="t")(lambda: 1).submit()
        return bound.run.serialize_parameters(values)

    assert outer() == {
        "point": {"x": 1, "y": 0}, "model": {"x": 2}, "day": "2026-01-02", "odd": "<object>",
        "state": "<State>", "future": "<Future>",
    }  # fmt: skip


def test_row_61_parameters_have_a_schema() -> None:
    @flow
    def main(n: int, model: Model, odd: object, untyped, *, by: date = date(2026, 1, 2), **rest: int):  # type: ignore
        ...

    schema = main.parameters
    assert (schema.title, schema.type, schema.required) == (
        "Parameters",
        "object",
        ["n", "model", "odd", "untyped"],
    )
    assert schema.properties["n"] == {"type": "integer", "title": "n", "position": 0}
    assert schema.properties["model"]["allOf"] == [{"$ref": "#/definitions/Model"}]
    assert schema.definitions["Model"]["properties"]["x"]["type"] == "integer"
    assert schema.properties["untyped"] == {"title": "untyped", "position": 3}
    assert schema.properties["by"]["default"] == "2026-01-02"
    assert list(Pipeline(1).run.parameters.properties) == ["x"]
    assert list(Pipeline.run.parameters.properties) == ["self", "x"]
    assert "required" not in flow(lambda x=1: x).parameters.model_dump_for_openapi()


def test_row_60_reserved_parameters_are_refused() -> None:
    for name in ("return_state", "wait_for"):
        with pytest.raises(ReservedArgumentError, match=f"'{name}' is a reserved argument name"):
            Flow(eval(f"lambda {name}: 1"))
