"""What is secret is taken out of a block also where nothing has validated it, and errors do not tell it."""

import json
import pickle
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel, Field, RootModel, SecretBytes, SecretStr, ValidationError
from pydantic import Secret as PydanticSecret

from taskyard.blocks.contents import put_together, secret_paths_in, take_apart
from taskyard.blocks.core import Block
from taskyard.blocks.fields import SecretDict
from taskyard.blocks.kept_secret import hidden
from taskyard.blocks.types import said_of


class Inner(BaseModel):
    token: SecretStr | None = None
    any: PydanticSecret[Any] | None = None


@dataclass
class Data:
    token: SecretStr
    any: PydanticSecret[Any] | None = None


class Tokens(RootModel[list[SecretStr]]):
    pass


class Anything(Block):
    token: SecretStr | None = None
    any: PydanticSecret[Any] | None = None
    raw: SecretBytes | None = None
    headers: SecretDict = Field(default_factory=dict)
    inner: Inner | None = None
    inners: list[Inner] = Field(default_factory=list)
    data: Data | None = None
    tokens: Tokens | None = None
    either: str | SecretStr = ""
    left_out: int = Field(default=1, exclude=True)
    free: Any = None
    public: str = ""


def set_inside(block: Any) -> None:
    block.inner = Inner()
    block.inner.any = "hunter2"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("token", "hunter2"),
        ("any", "hunter2"),
        ("any", {"a": ["hunter2"]}),
        ("raw", b"hunter2"),
        ("headers", {"a": "hunter2"}),
        ("inner", {"token": "hunter2"}),
        ("inner", Inner.model_construct(token="hunter2")),  # type: ignore[arg-type]
        ("inner", Inner.model_construct(any="hunter2")),  # type: ignore[arg-type]
        ("inners", [{"any": "hunter2"}]),
        ("data", {"token": "hunter2"}),
        ("data", Data("hunter2")),  # type: ignore[arg-type]
        ("data", Data(SecretStr("x"), "hunter2")),  # type: ignore[arg-type]
        ("tokens", ["hunter2"]),
        ("free", Inner.model_construct(any="hunter2")),  # type: ignore[arg-type]
        ("free", Data("hunter2")),  # type: ignore[arg-type]
    ],
)
def test_what_was_assigned_is_as_secret_as_its_field(name: str, value: Any) -> None:
    block = Anything()
    setattr(block, name, value)
    parts = take_apart(block)
    assert "hunter2" not in json.dumps(parts.data)
    assert b"hunter2" in parts.secret_bytes()
    again = Anything.model_validate(put_together(parts.data, parts.secret_bytes()))
    assert b"hunter2" in take_apart(again).secret_bytes() or name == "free"
    assert again.left_out == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("token", ["hunter2"]),
        ("inner", {"token": ["hunter2"]}),
        ("raw", SecretBytes(b"hunter2\xff")),
        ("any", PydanticSecret[Any]({"a": SecretStr("hunter2")})),
        ("any", PydanticSecret[Any]({"hunter2", object})),
    ],
)
def test_what_cannot_be_kept_is_refused_without_being_told(name: str, value: Any) -> None:
    block = Anything()
    setattr(block, name, value)
    with pytest.raises(ValueError, match=f"'{name}'") as caught:
        take_apart(block)
    assert b"hunter2" not in pickle.dumps(caught.value)
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_where_everything_is_allowed_a_secret_stays_one() -> None:
    first = Anything(
        either=SecretStr("hunter2"), free={"$a": [SecretStr("hunter2")]}, more=PydanticSecret[Any]({"a": 1})
    )
    parts = take_apart(first)
    data = {"either": "hunter2", "free": {"$a": ["hunter2"]}, "more": {"a": 1}, "public": "x"}
    loaded: Any = Anything.model_validate(data)
    for path in secret_paths_in(parts.secret_bytes()):
        hidden(loaded, path)
    assert take_apart(loaded).secret_paths() == parts.secret_paths()
    assert loaded.more.get_secret_value() == {"a": 1}


def test_a_field_that_is_no_secret_any_more_is_none() -> None:
    assert hidden(Anything(public="x"), ("public",)).public == "x"
    assert hidden(Anything(free=(1, "x")), ("free", 1)).free == (1, SecretStr("x"))
    assert hidden(Anything(free=[1]), ("free", 7)).free == [1]


def test_errors_of_a_block_do_not_carry_what_was_wrong() -> None:
    with pytest.raises(ValidationError, match="valid string") as caught:
        Anything(token=["hunter2"])
    assert b"hunter2" not in pickle.dumps(caught.value)
    assert caught.value.errors()[0]["loc"] == ("token",)
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_what_is_registered_of_a_type_has_no_secret_default() -> None:
    class Defaults(Block):
        token: SecretStr = "hunter2"  # type: ignore[assignment]
        headers: dict[str, SecretStr] = {"a": "hunter2"}  # type: ignore[dict-item]  # noqa: RUF012
        inner: Inner = {"token": "hunter2"}  # type: ignore[assignment]  # noqa: RUF012
        port: int = 5432

    said = json.dumps(said_of(Defaults))
    assert "hunter2" not in said
    assert '"default": 5432' in said
