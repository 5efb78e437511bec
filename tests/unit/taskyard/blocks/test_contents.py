"""What a block is made of, taken apart and put together: nothing secret in the part that all may read."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr
from pydantic import Secret as PydanticSecret

from taskyard.blocks.contents import put_together, rebuilt, shown, take_apart
from taskyard.blocks.core import Block


class Anything(Block):
    value: Any = None


class Nested(BaseModel):
    token: SecretStr


KEYS = st.text("ab$*", max_size=3) | st.sampled_from(["$ref", "$block", "$dict", "data"])
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.builds(SecretStr, st.just("hunter2"))
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


def revealed(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, dict):
        return {key: revealed(each) for key, each in value.items()}
    return [revealed(each) for each in value] if isinstance(value, list) else value


def refused(*_: object) -> object:
    raise AssertionError("there is no block in it")


@given(VALUES)
def test_any_value_comes_back_and_its_secrets_were_apart(value: Any) -> None:
    parts = take_apart(Anything(value=value))
    text = json.dumps(parts.data)
    assert "hunter2" not in text
    again = rebuilt(put_together(json.loads(text), parts.secret_bytes()), refused, refused)
    assert again == {"value": revealed(value)}
    assert "hunter2" not in json.dumps(shown(json.loads(text), parts.secret_paths()))


def test_a_secret_in_a_secret_is_one() -> None:
    parts = take_apart(Anything(value=PydanticSecret[Any]({"$ref": "x/y", "a": [1]})))
    assert parts.data == {"value": None}
    again = rebuilt(put_together(parts.data, parts.secret_bytes()), refused, refused)
    assert again == {"value": {"$ref": "x/y", "a": [1]}}


def test_models_sets_and_tuples_are_looked_into() -> None:
    parts = take_apart(Anything(value={"a": (Nested(token=SecretStr("hunter2")), {SecretStr("hunter3")})}))
    assert parts.data == {"value": {"a": [{"token": None}, [None]]}}
    assert parts.secret_paths() == [("value", "a", 0, "token"), ("value", "a", 1, 0)]


def test_a_block_without_secrets_has_nothing_to_encrypt() -> None:
    assert take_apart(Anything(value=1)).secret_bytes() == b""
