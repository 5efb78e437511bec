"""Serializers: shorthands, options, own ones, and what records say of them."""

import pickle
from typing import Any

import pytest

from taskyard.serializers import (
    CompressedSerializer,
    JSONSerializer,
    PickleSerializer,
    Serializer,
    from_description,
    serializer_of,
)

SHORTHANDS = ("pickle", "json", "compressed/pickle", "compressed/json")


class Reversed(Serializer):
    type: str = "tests/reversed"
    times: int = 1

    def dumps(self, obj: Any) -> bytes:
        return (str(obj)[::-1] * self.times).encode()

    def loads(self, blob: bytes) -> Any:
        return blob.decode()[::-1][: len(blob) // self.times]


@pytest.mark.parametrize("name", SHORTHANDS)
def test_row_25_each_shorthand_writes_and_reads(name: str) -> None:
    serializer = serializer_of(name)
    assert serializer.type == name
    assert serializer.loads(serializer.dumps({"a": [1, None]})) == {"a": [1, None]}
    assert serializer_of(name) is serializer


def test_row_25_json_reads_tuples_as_lists() -> None:
    serializer = JSONSerializer()
    assert serializer.loads(serializer.dumps((1, 2))) == [1, 2]


def test_row_25_json_takes_arguments_for_pythons_own() -> None:
    assert JSONSerializer(dumps_kwargs={"sort_keys": True}).dumps({"b": 1, "a": 2}) == b'{"a": 2, "b": 1}'


def test_row_25_plain_pickle_refuses_what_has_no_module() -> None:
    with pytest.raises((pickle.PicklingError, AttributeError)):
        PickleSerializer(picklelib="pickle").dumps(lambda: 1)
    assert PickleSerializer().loads(PickleSerializer().dumps(lambda: 1))() == 1


def test_row_25_a_class_of_ones_own_is_known_by_its_type() -> None:
    assert serializer_of("tests/reversed") == Reversed()
    assert Reversed(times=2) != Reversed()
    assert Reversed(times=2).loads(Reversed(times=2).dumps("abc")) == "abc"


@pytest.mark.parametrize(
    "serializer",
    [
        *map(serializer_of, SHORTHANDS),
        Reversed(times=3),
        CompressedSerializer(serializer=Reversed(times=2), compressionlib="zlib"),
        JSONSerializer(dumps_kwargs={"indent": 2}),
    ],
    ids=repr,
)
def test_what_records_say_makes_the_same_serializer(serializer: Serializer) -> None:
    assert from_description(serializer.described()) == serializer


def test_records_say_only_what_is_not_as_by_default() -> None:
    assert serializer_of("json").described() == {"type": "json"}
    assert serializer_of("compressed/json").described() == {"type": "compressed/json"}


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ("yaml", ValueError, "there is no serializer 'yaml'; known are compressed, compressed/json"),
        (5, TypeError, "or its type such as 'json', got 5"),
        (dict, TypeError, "must be a serializer"),
    ],
)
def test_row_25_what_is_no_serializer_is_refused(given: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        serializer_of(given)


def test_libraries_that_are_not_known_are_refused() -> None:
    with pytest.raises(ValueError, match="'compressionlib' is 'os'; it must be one of lzma"):
        CompressedSerializer(compressionlib="os")
    with pytest.raises(ValueError, match="'compressionlib' is 'os'"):
        from_description({"type": "compressed", "compressionlib": "os"})
    with pytest.raises(ValueError, match="'picklelib' is 'os'"):
        PickleSerializer(picklelib="os")


def test_a_description_with_options_of_another_release_is_refused() -> None:
    with pytest.raises(ValueError, match="does not have these options here"):
        from_description({"type": "json", "newer": 1})
