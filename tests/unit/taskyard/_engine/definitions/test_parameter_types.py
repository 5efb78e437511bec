from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from pydantic import BaseModel, Field, PydanticUserError, field_validator

from taskyard._engine.definitions.parameter_types import ParameterValidator
from taskyard._engine.definitions.signatures import CallSignature
from taskyard.exceptions import FlowTimedOut, ParameterTypeError

if TYPE_CHECKING:
    from somewhere import Unknown  # type: ignore[import-not-found]  # known to type checkers only, if at all


class Order(BaseModel):
    item: str
    count: int = 1


class Plain:
    pass


def validate(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
    signature = CallSignature(fn)
    return ParameterValidator(fn, signature).validate(signature.bind(args, kwargs))


def flow(count: int, order: Order, names: list[str] | None = None, anything=None) -> None: ...  # type: ignore[no-untyped-def]


def test_row_61_parameters_are_converted_to_their_declared_types() -> None:
    assert validate(flow, "3", {"item": "tea"}, names=("a",), anything="3") == {
        "count": 3,
        "order": Order(item="tea"),
        "names": ["a"],
        "anything": "3",
    }


def test_row_61_models_and_other_objects_are_kept() -> None:
    def plain(order: Order, thing: Plain) -> None: ...

    order, thing = Order(item="tea"), Plain()
    checked = validate(plain, order, thing)
    assert checked["order"] is order
    assert checked["thing"] is thing
    with pytest.raises(ParameterTypeError, match="thing: Input should be an instance of Plain"):
        validate(plain, order, 3)


class Undecided(BaseModel):
    """A model whose own check breaks down."""

    item: str

    @field_validator("item")
    @classmethod
    def _look_up(cls, item: str) -> str:
        return {}[item]  # type: ignore[no-any-return]


class Shapeless:
    """A type that asks for a schema which cannot be."""

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> Any:
        raise PydanticUserError("no schema for it", code=None)


def test_types_that_cannot_check_anything_are_said() -> None:
    def undecided(order: Undecided) -> None: ...

    def shapeless(thing: Shapeless) -> None: ...

    with pytest.raises(ParameterTypeError, match="parameters that cannot be checked: KeyError: 'tea'"):
        validate(undecided, {"item": "tea"})
    with pytest.raises(ParameterTypeError, match="cannot be checked: PydanticUserError: no schema for it"):
        validate(shapeless, 1)


def test_the_end_of_the_time_is_no_fault_of_a_parameter() -> None:
    class Slow(BaseModel):
        item: str

        @field_validator("item")
        @classmethod
        def _look_up(cls, item: str) -> str:
            raise FlowTimedOut("time is up")

    def slow(order: Slow) -> None: ...

    slow.__annotations__["order"] = Slow
    with pytest.raises(FlowTimedOut, match="time is up"):
        validate(slow, {"item": "tea"})


def test_row_61_every_wrong_parameter_is_named() -> None:
    with pytest.raises(ParameterTypeError) as raised:
        validate(flow, "three", {"count": 2})
    assert str(raised.value).startswith("Flow run received invalid parameters:\n - count: Input should be")
    assert " - order.item: Field required" in str(raised.value)


def test_a_default_of_another_type_is_let_through() -> None:
    def lenient(params: dict[str, int] = None) -> None: ...  # type: ignore[assignment]  # noqa: RUF013

    assert validate(lenient) == {"params": None}
    assert validate(lenient, {"a": "1"}) == {"params": {"a": 1}}


def test_variadic_parameters_are_checked_one_by_one() -> None:
    def variadic(*counts: int, **more: int) -> None: ...

    assert validate(variadic, "1", "2", a="3") == {"counts": (1, 2), "more": {"a": 3}}
    with pytest.raises(ParameterTypeError, match=r"more\.a"):
        validate(variadic, a="x")


def test_constraints_in_annotations_count() -> None:
    def constrained(count: Annotated[int, Field(gt=0)]) -> None: ...

    with pytest.raises(ParameterTypeError, match="count: Input should be greater than 0"):
        validate(constrained, 0)


def test_annotations_that_cannot_be_evaluated_check_nothing() -> None:
    def typed(thing: Unknown, count: int) -> None: ...

    assert validate(typed, 1, "two") == {"thing": 1, "count": "two"}


def test_parameters_may_be_called_like_attributes_of_models() -> None:
    def awkward(json: int, model_config: int, _private: int) -> None: ...

    assert validate(awkward, "1", "2", "3") == {"json": 1, "model_config": 2, "_private": 3}
