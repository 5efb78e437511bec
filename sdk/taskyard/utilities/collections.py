"""Helpers around collections: visits of what is in them, dictionaries in dictionaries, batches."""

import io
from collections.abc import Callable, Collection, Generator, Hashable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum, auto
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from taskyard._data.values.visiting import StopVisiting, visit_collection
from taskyard._missing_features import absent_names

__all__ = [
    "AutoEnum",
    "StopVisiting",
    "batched_iterable",
    "deep_merge",
    "deep_merge_dicts",
    "dict_to_flatdict",
    "distinct",
    "ensure_iterable",
    "extract_instances",
    "flatdict_to_dict",
    "get_from_dict",
    "isiterable",
    "listrepr",
    "remove_nested_keys",
    "set_in_dict",
    "visit_collection",
]

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)
_ANY: Final[Any] = object


class AutoEnum(str, Enum):
    """An enumeration whose values are the names: ``RED = AutoEnum.auto()``."""

    @staticmethod
    def _generate_next_value_(name: str, *_: object) -> str:
        return name

    @staticmethod
    def auto() -> Any:
        """Return what stands for the name of a member."""
        return auto()

    def __repr__(self) -> str:
        """Show it as it is written."""
        return f"{type(self).__name__}.{self.value}"


def isiterable(obj: object) -> bool:
    """Say whether something can be iterated over and is no text, bytes or file."""
    try:
        iter(obj)  # type: ignore[call-overload]  # this is the question
    except TypeError:
        return False
    return not isinstance(obj, (str, bytes, io.IOBase))


def ensure_iterable(obj: T | Iterable[T]) -> Collection[T]:
    """Return a sequence or a set as it is, and anything else as the one element of a list."""
    if isinstance(obj, (Sequence, AbstractSet)):
        return obj
    return [cast(T, obj)]


def listrepr(objs: Iterable[object], sep: str = " ") -> str:
    """Return the representations of some objects, with something between them."""
    return sep.join(map(repr, objs))


def distinct(iterable: Iterable[T], key: Callable[[T], Any] | None = None) -> Iterator[T]:
    """Yield what has not been yielded before, in order.

    Args:
        iterable: Things that can be hashed.
        key: Returns what is compared; by default the thing itself.
    """
    seen = set()
    for item in iterable:
        known = item if key is None else key(item)
        if known not in seen:
            seen.add(known)
            yield item


def batched_iterable(iterable: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    """Yield the elements of an iterable in tuples; the last one may be shorter.

    Args:
        iterable: The elements.
        size: How many are in one.
    """
    left = iter(iterable)
    while batch := tuple(islice(left, size)):
        yield batch


def extract_instances(
    objects: Iterable[Any], types: type[T] | tuple[type[T], ...] = _ANY
) -> list[T] | dict[type[T], list[T]]:
    """Return those of some objects that are of a type; of several, by their types.

    Args:
        objects: Any objects.
        types: The type, or several.
    """
    if not isinstance(types, tuple):
        return [one for one in objects if isinstance(one, types)]
    found: dict[type[T], list[T]] = {}
    for one in objects:
        for kind in types:
            if isinstance(one, kind):
                found.setdefault(kind, []).append(one)
    return found


def dict_to_flatdict(dct: Mapping[Any, Any]) -> dict[tuple[Any, ...], Any]:
    """Return a dictionary of dictionaries as one, whose keys are the paths of keys; empty ones stay.

    Args:
        dct: The dictionary.
    """
    return dict(_flat(dct, ()))


def _flat(dct: Mapping[Any, Any], path: tuple[Any, ...]) -> Generator[tuple[tuple[Any, ...], Any]]:
    for key, value in dct.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, (*path, key))
        else:
            yield (*path, key), value


def flatdict_to_dict(dct: Mapping[tuple[Any, ...], Any]) -> dict[Any, Any]:
    """Return the dictionary of dictionaries that `dict_to_flatdict` made flat.

    Args:
        dct: Values by paths of keys.
    """
    whole: dict[Any, Any] = {}
    for path, value in dct.items():
        set_in_dict(whole, list(path), value)
    return whole


def remove_nested_keys(keys_to_remove: Collection[Hashable], obj: Any) -> Any:
    """Return a dictionary without some keys, in it and in dictionaries that are its values.

    Args:
        keys_to_remove: The keys.
        obj: The dictionary; anything else is returned as it is.
    """
    if not isinstance(obj, dict):
        return obj
    return {
        key: remove_nested_keys(keys_to_remove, value)
        for key, value in obj.items()
        if key not in keys_to_remove
    }


def _path(keys: str | Sequence[Any]) -> list[Any]:
    if not isinstance(keys, str):
        return list(keys)
    parts = keys.replace("[", ".").replace("]", "").split(".")
    return [int(part) if part.isdigit() else part for part in parts]


def get_from_dict(dct: Any, keys: str | Sequence[Any], default: Any = None) -> Any:
    """Return what is in a dictionary of dictionaries and lists at a path.

    Args:
        dct: The dictionary.
        keys: The path: keys, or text like ``"a.b[0]"``.
        default: What is returned where there is nothing.
    """
    for key in _path(keys):
        try:
            dct = dct[key]
        except (TypeError, KeyError, IndexError):
            return default
    return dct


def set_in_dict(dct: dict[Any, Any], keys: str | Sequence[Any], value: Any) -> None:
    """Put a value into a dictionary of dictionaries at a path; what is missing on the way is made.

    Args:
        dct: The dictionary, which is changed.
        keys: The path: keys, or text like ``"a.b"``.
        value: The value.

    Raises:
        TypeError: What is on the way is no dictionary.
    """
    *way, last = _path(keys)
    for key in way:
        if not isinstance(dct.setdefault(key, {}), dict):
            raise TypeError(f"what is at {key!r} on the way to {keys!r} is no dictionary, but {dct[key]!r}")
        dct = dct[key]
    dct[last] = value


def deep_merge(dct: Mapping[K, Any], merge: Mapping[K, Any]) -> dict[K, Any]:
    """Return a dictionary with another one put over it, in dictionaries that both have as well.

    Args:
        dct: The dictionary, which stays as it is.
        merge: What wins.
    """
    result = dict(dct)
    for key, value in merge.items():
        below = result.get(key)
        both = isinstance(below, dict) and isinstance(value, dict)
        result[key] = deep_merge(cast("dict[Any, Any]", below), value) if both else value
    return result


def deep_merge_dicts(*dicts: Mapping[K, Any]) -> dict[K, Any]:
    """Return several dictionaries merged as `deep_merge` does; the last one wins.

    Args:
        *dicts: The dictionaries.
    """
    result: dict[K, Any] = {}
    for each in dicts:
        result = deep_merge(result, each)
    return result


if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
