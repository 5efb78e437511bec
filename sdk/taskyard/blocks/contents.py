"""What a block is made of, as JSON in two parts: what everybody may read, and what is secret.

Secret values are taken out and listed with the path to where they were, so that the control plane encrypts
them without knowing what a block is. Blocks inside of blocks are named, if they are saved themselves, else
they are written where they are. Keys that begin with "$" say so; those of users are wrapped.

Invariant: no value of a secret type gets into the first part, however deep it is.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol, cast

from pydantic import BaseModel, Secret, SecretBytes, SecretStr
from pydantic_core import to_jsonable_python

_SECRET: Final = (SecretStr, SecretBytes, Secret)
_NAMED: Final = "$ref"
_INLINE: Final = "$block"
_DATA: Final = "data"
_WRAPPED: Final = "$dict"
_MARK: Final = "$"
_ASTERISKS: Final = "********"

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


def shown(data: dict[str, Any], secret_paths: list[Path]) -> dict[str, Any]:
    """Return content as people may see it: with asterisks for what is secret, and the names of blocks."""
    for path in secret_paths:
        _put(data, path, _ASTERISKS)
    content = rebuilt(data, lambda name: {_NAMED: name}, lambda slug, inside: {_INLINE: slug, **inside})
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
    if _NAMED in data:
        return named(data[_NAMED])
    if _INLINE in data:
        return inline(data[_INLINE], rebuilt(data[_DATA], named, inline))
    return {key: rebuilt(each, named, inline) for key, each in data.get(_WRAPPED, data).items()}


def _fields(model: BaseModel, path: Path, secrets: list[tuple[Path, Any]]) -> dict[str, Any]:
    """Write the fields of a model, under the names that it is validated with."""
    plain = model.model_dump(mode="json", by_alias=True, warnings=False)
    written: dict[str, Any] = {}
    for name, info in type(model).model_fields.items():
        alias = info.validation_alias
        key = alias if isinstance(alias, str) else name
        value = getattr(model, name, None)
        dumped = plain.get(info.serialization_alias or name)
        written[key] = _value(value, (*path, key), secrets) if _is_special(value) else _escaped(dumped)
    for name, value in (model.model_extra or {}).items():
        written[name] = _value(value, (*path, name), secrets)
    return written


def _value(value: Any, path: Path, secrets: list[tuple[Path, Any]]) -> Any:
    if isinstance(value, _SECRET):
        secrets.append((path, to_jsonable_python(value.get_secret_value())))
        return None
    if not _is_special(value):
        return _escaped(to_jsonable_python(value))
    if isinstance(value, BaseModel):
        return _model(value, path, secrets)
    if isinstance(value, Mapping):
        pairs = {_key(key): each for key, each in value.items()}
        wraps = any(key.startswith(_MARK) for key in pairs)
        inside = (*path, _WRAPPED) if wraps else path
        written = {key: _value(each, (*inside, key), secrets) for key, each in pairs.items()}
        return {_WRAPPED: written} if wraps else written
    return [_value(each, (*path, place), secrets) for place, each in enumerate(value)]


def _model(model: BaseModel, path: Path, secrets: list[tuple[Path, Any]]) -> dict[str, Any]:
    """Write a model inside of a block: a block by its name, if it has one."""
    if not _is_block(model):
        return _fields(model, path, secrets)
    block = cast(BlockLike, model)
    name = block.saved_as()
    if name is not None:
        return {_NAMED: name}
    return {_INLINE: block.get_block_type_slug(), _DATA: _fields(model, (*path, _DATA), secrets)}


def _is_block(value: object) -> bool:
    return isinstance(value, BaseModel) and hasattr(type(value), "get_block_type_slug")


def _is_special(value: Any) -> bool:
    """Say whether there is a secret, or a block, somewhere in a value."""
    if isinstance(value, _SECRET) or _is_block(value):
        return True
    if isinstance(value, BaseModel):
        return any(_is_special(each) for _, each in value)
    if isinstance(value, Mapping):
        return any(map(_is_special, value.values()))
    return isinstance(value, (list, tuple, set, frozenset)) and any(map(_is_special, value))


def _escaped(plain: Any) -> Any:
    """Return JSON in which no key of a user's means anything to `rebuilt`."""
    if isinstance(plain, list):
        return [_escaped(each) for each in plain]
    if not isinstance(plain, dict):
        return plain
    inside = {key: _escaped(each) for key, each in plain.items()}
    return {_WRAPPED: inside} if any(key.startswith(_MARK) for key in inside) else inside


def _key(key: object) -> str:
    return str(next(iter(to_jsonable_python({key: None}))))
