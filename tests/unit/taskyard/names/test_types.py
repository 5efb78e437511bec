"""Types for annotations under the names that ported programs import."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from taskyard import types
from taskyard.exceptions import InvalidNameError


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("NonNegativeInteger", 0, -1),
        ("PositiveInteger", 1, 0),
        ("NonNegativeFloat", 0.0, -0.1),
        ("StatusCode", 404, 99),
        ("TimeZone", "Europe/Paris", "Europe/Atlantis"),
        ("Name", "a b", ""),
        ("Name", "a", "a/b"),
        ("NameOrEmpty", "", "a%b"),
        ("NonEmptyishName", "a", " ' "),
        ("LogLevel", "DEBUG", "LOUD"),
        ("KeyValueLabels", {"a": 1, "b": True}, {"a": []}),
        ("StrictVariableValue", {"a": [1]}, object()),
    ],
)
def test_a_type_takes_what_it_says(kind: str, good: Any, bad: Any) -> None:
    adapter = TypeAdapter(getattr(types, kind))
    assert adapter.validate_python(good) == good
    with pytest.raises(ValidationError):
        adapter.validate_python(bad)


def test_types_convert_what_they_are_given() -> None:
    assert TypeAdapter(types.LogLevel).validate_python("debug") == "DEBUG"
    assert TypeAdapter(types.ListOfNonEmptyStrings).validate_python("a, ,b") == ["a", "b"]
    secret = TypeAdapter(types.SecretDict).validate_python({"key": "value"})
    assert "value" not in repr(secret)


def test_a_name_says_which_characters_it_must_not_have() -> None:
    assert types.raise_on_name_with_banned_characters("fine") == "fine"
    assert types.raise_on_name_with_banned_characters(None) is None
    with pytest.raises(InvalidNameError, match="Name 'a&b' contains an invalid character"):
        types.raise_on_name_with_banned_characters("a&b")
