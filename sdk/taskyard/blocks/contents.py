"""What a block is made of, as JSON in two parts: what everybody may read, and what is secret.

Secret values are taken out and listed with the path to where they were, so that the control plane encrypts
them without knowing what a block is. Blocks inside of blocks are named, if they are saved themselves, else
they are written where they are. Keys that begin with "$" say so; those of users are wrapped.

Invariant: no value of a secret type gets into the first part, however deep it is.
"""

import dataclasses
import json
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, NamedTuple, Protocol, cast

from pydantic import BaseModel, RootModel
from pydantic_core import to_jsonable_python

from taskyard.blocks.kept_secret import (
    DATA,
    INLINE,
    NAMED,
    SECRET,
    WRAPPED,
    assigned,
    fields_of_data,
    key_of,
    may_be_secret,
)

_MARK: Final = "$"
_ASTERISKS: Final = "********"
_TEXTS: Final = (str, bytes, bytearray, memoryview)

Path = tuple[str | int, ...]


class BlockLike(Protocol):
    """What has to be known of a block to write it down."""

    def saved_as(self) -> str | None:
        """Return "type/name" if it is saved under a name."""
        ...

    def get_block_type_slug(self) -> str:
        """Return the name of its type in references."""
        ...


class Parts(NamedTuple):
    """A block's content, taken apart."""

    data: dict[str, Any]
    secrets: list[tuple[Path, Any]]

    def secret_paths(self) -> list[Path]:
        """Return where secrets are, which is none."""
        return [path for path, _ in self.secrets]

    def secret_bytes(self) -> bytes:
        """Return what is secret, as it is sent; empty for nothing."""
        return json.dumps(self.secrets).encode() if self.secrets else b""


def take_apart(block: BaseModel) -> Parts:
    """Take the content of a block apart.

    Raises:
        ValueError: A value in it is nothing that JSON has.
    """
    secrets: list[tuple[Path, Any]] = []
    return Parts(_fields(block, (), secrets), secrets)


def put_together(data: dict[str, Any], secret: bytes) -> dict[str, Any]:
    """Put what was secret back to where it was."""
    for path, value in json.loads(secret) if secret else ():
        _put(data, path, _escaped(value))
    return data


def secret_paths_in(secret: bytes) -> list[Path]:
    """Return where that belongs which was secret."""
    return [tuple(path) for path, _ in json.loads(secret)] if secret else []


def shown(data: dict[str, Any], secret_paths: list[Path]) -> dict[str, Any]:
    """Return content as people may see it: with asterisks for what is secret, and the names of blocks."""
    for path in secret_paths:
        _put(data, path, _ASTERISKS)
    content = rebuilt(data, lambda name: {NAMED: name}, lambda slug, inside: {INLINE: slug, **inside})
    return cast("dict[str, Any]", content)


def _put(data: Any, path: Path, value: Any) -> None:
    for step in path[:-1]:
        data = data[step]
    data[path[-1]] = value


def rebuilt(
    data: Any, named: Callable[[str], object], inline: Callable[[str, dict[str, Any]], object]
) -> Any:
    """Return content as a model takes it: with blocks where they were.

    Args:
        data: The content, put together.
        named: Returns a block by "type/name".
        inline: Returns a block of a type with some content.
    """
    if isinstance(data, list):
        return [rebuilt(each, named, inline) for each in data]
    if not isinstance(data, dict):
        return data
    if NAMED in data:
        return named(data[NAMED])
    if INLINE in data:
        return inline(data[INLINE], rebuilt(data[DATA], named, inline))
    return {key: rebuilt(each, named, inline) for key, each in data.get(WRAPPED, data).items()}


def _fields(model: BaseModel, path: Path, secrets: list[tuple[Path, Any]]) -> dict[str, Any]:
    """Write the fields of a model, under the names that it is validated with."""
    values = {
        name: assigned(name, info, getattr(model, name, None))
        for name, info in type(model).model_fields.items()
    }
    special = {name for name, value in values.items() if _is_special(value)}
    plain = model.model_dump(mode="json", by_alias=True, warnings=False, exclude=special)
    written: dict[str, Any] = {}
    for name, info in type(model).model_fields.items():
        key, shown_as = key_of(name, info), info.serialization_alias or name
        if name in special or shown_as not in plain:  # the latter is one that others are not to be shown
            written[key] = _value(values[name], (*path, key), secrets)
        else:
            written[key] = _escaped(plain[shown_as])
    for name, value in (model.model_extra or {}).items():
        written[name] = _value(value, (*path, name), secrets)
    return written


def _value(value: Any, path: Path, secrets: list[tuple[Path, Any]]) -> Any:
    if isinstance(value, SECRET):
        secrets.append((path, _told(value.get_secret_value(), path)))
        return None
    if not _is_special(value):
        return _escaped(to_jsonable_python(value))
    if isinstance(value, BaseModel):
        return _model(value, path, secrets)
    if _is_data(value):
        value = fields_of_data(value)
    if isinstance(value, Mapping):
        pairs = {_key(key): each for key, each in value.items()}
        wraps = any(key.startswith(_MARK) for key in pairs)
        inside = (*path, WRAPPED) if wraps else path
        written = {key: _value(each, (*inside, key), secrets) for key, each in pairs.items()}
        return {WRAPPED: written} if wraps else written
    return [_value(each, (*path, place), secrets) for place, each in enumerate(value)]


def _told(value: Any, path: Path) -> Any:
    """Return what is secret as JSON has it.

    Raises:
        ValueError: It is nothing that JSON has. The error does not tell it.
    """
    where = ".".join(str(step) for step in path)
    if _is_special(value):
        raise ValueError(f"there is a secret, or a block, inside of the secret value of '{where}'; have one")
    try:
        return to_jsonable_python(value)
    except ValueError:
        raise ValueError(
            f"the secret value of '{where}' cannot be kept: it has to be a text, bytes that are UTF-8,"
            " or another value that JSON has"
        ) from None


def _model(model: BaseModel, path: Path, secrets: list[tuple[Path, Any]]) -> dict[str, Any]:
    """Write a model inside of a block: a block by its name, if it has one."""
    if isinstance(model, RootModel):
        return cast("dict[str, Any]", _value(model.root, path, secrets))
    if not _is_block(model):
        return _fields(model, path, secrets)
    block = cast(BlockLike, model)
    name = block.saved_as()
    if name is not None:
        return {NAMED: name}
    return {INLINE: block.get_block_type_slug(), DATA: _fields(model, (*path, DATA), secrets)}


def _is_block(value: object) -> bool:
    return isinstance(value, BaseModel) and hasattr(type(value), "get_block_type_slug")


def _is_data(value: object) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _is_special(value: Any) -> bool:
    """Say whether there is a secret, or a block, somewhere in a value, or what should be a secret."""
    if isinstance(value, SECRET) or _is_block(value):
        return True
    if isinstance(value, RootModel):
        return _is_special(value.root)
    if isinstance(value, BaseModel):
        return may_be_secret(type(value)) or any(_is_special(each) for _, each in value)
    if _is_data(value):
        parts = (getattr(value, each.name) for each in dataclasses.fields(value))
        return may_be_secret(type(value)) or any(map(_is_special, parts))
    if isinstance(value, Mapping):
        return any(map(_is_special, value.values()))
    return isinstance(value, Collection) and not isinstance(value, _TEXTS) and any(map(_is_special, value))


def _escaped(plain: Any) -> Any:
    """Return JSON in which no key of a user's means anything to `rebuilt`."""
    if isinstance(plain, list):
        return [_escaped(each) for each in plain]
    if not isinstance(plain, dict):
        return plain
    inside = {key: _escaped(each) for key, each in plain.items()}
    return {WRAPPED: inside} if any(key.startswith(_MARK) for key in inside) else inside


def _key(key: object) -> str:
    return str(next(iter(to_jsonable_python({key: None}))))
