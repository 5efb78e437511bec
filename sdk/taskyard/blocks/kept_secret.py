"""What is secret stays secret: when it was assigned as a plain value, and when no field says that it is.

Pydantic validates what a model is made of, and not what is assigned to it later, so a plain text may be where
a secret is declared. And what was saved as a secret may come back to where everything is allowed.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, cast, get_args, get_origin, get_type_hints

from pydantic import BaseModel, RootModel, Secret, SecretBytes, SecretStr, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails, PydanticCustomError

SECRET: Final = (SecretStr, SecretBytes, Secret)
"""Of these types are values that are encrypted."""
NAMED: Final = "$ref"
INLINE: Final = "$block"
DATA: Final = "data"
WRAPPED: Final = "$dict"

_BARE: Final = (Any, object, dict, list, tuple, set, frozenset, Mapping, Sequence)
"""Annotations that say nothing of what is inside."""


def key_of(name: str, info: FieldInfo) -> str:
    """Return the name under which a field is validated."""
    return info.validation_alias if isinstance(info.validation_alias, str) else name


def may_be_secret(annotation: Any, seen: tuple[Any, ...] = ()) -> bool:
    """Say whether values of a type can have something secret in them, as far as the type says it."""
    annotation = getattr(annotation, "__value__", annotation)  # that of a `type` statement
    kind = get_origin(annotation) or annotation
    if isinstance(kind, type) and kind not in seen:
        if issubclass(kind, SECRET):
            return True
        if any(may_be_secret(each, (*seen, kind)) for each in _fields_of(kind)):
            return True
    return any(may_be_secret(each, seen) for each in get_args(annotation))


def _fields_of(kind: type[Any]) -> list[Any]:
    if issubclass(kind, BaseModel):
        return [info.annotation for info in kind.model_fields.values()]
    return list(_hints_of(kind).values()) if dataclasses.is_dataclass(kind) else []


def _hints_of(kind: type[Any]) -> dict[str, Any]:
    try:
        return get_type_hints(kind, include_extras=True)
    except NameError:  # of a class that only type checkers know
        return {}


def fields_of_data(value: Any) -> dict[str, Any]:
    """Return what is in a dataclass, what is secret in it as a secret.

    Raises:
        ValueError: As for `assigned`.
    """
    hints = _hints_of(type(value))
    names = [each.name for each in dataclasses.fields(value)]
    return {name: _as_declared(name, hints.get(name, Any), getattr(value, name)) for name in names}


def assigned(name: str, info: FieldInfo, value: Any) -> Any:
    """Return the value of a field as its type has it: what is secret, as a secret.

    Raises:
        ValueError: It is none of this type. The message does not tell it.
    """
    declared = Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
    return _as_declared(name, declared, value)


def _as_declared(name: str, declared: Any, value: Any) -> Any:
    if value is None or not may_be_secret(declared):
        return value  # None is what a block has that was loaded without validation
    try:
        return TypeAdapter(declared).validate_python(value)
    except ValidationError:
        raise ValueError(
            f"the field '{name}' has a secret in it, and its value, of type {type(value).__name__}, is not"
            " what it is declared to be; assign another one"
        ) from None
    except PydanticUserError:  # a type that pydantic can only check as a part of its model
        return value


def half_made(model: type[BaseModel], data: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a model that cannot be validated as a whole, with its secrets as such."""
    made = dict(data)
    for name, info in model.model_fields.items():
        key = key_of(name, info)
        if key in made:
            try:
                made[key] = assigned(name, info, made[key])
            except ValueError:
                pass  # it is hidden with what else no field says to be secret
    return made


def hidden(value: Any, path: Sequence[str | int], *, everything: bool = False, outermost: bool = True) -> Any:
    """Return a value in which something that was secret is a secret, unless its type says that it is none.

    Args:
        value: A model, a collection, or the secret itself. It is changed where that is possible.
        path: Where in it that is.
        everything: Whether it does not matter what its type says, because nothing was validated.
        outermost: Whether it is the block that was saved, and none inside of another one.
    """
    if isinstance(value, RootModel):
        value.root = hidden(value.root, path, everything=everything, outermost=False)
        return value
    if not path:
        return _secret(value)
    if isinstance(value, BaseModel):
        if not outermost and hasattr(type(value), "get_block_type_slug"):
            path = path[1:]  # which only says that it is a block
        return _model_hidden(value, path, everything)
    return _part_hidden(value, path, everything)


def _secret(value: Any) -> Any:
    if value is None or isinstance(value, SECRET):
        return value
    return SecretStr(value) if isinstance(value, str) else Secret[Any](value)


def _model_hidden(model: BaseModel, path: Sequence[str | int], everything: bool) -> BaseModel:
    for name, info in type(model).model_fields.items():
        if key_of(name, info) == path[0]:
            may_be = everything or _is_open(info.annotation) or may_be_secret(info.annotation)
            if may_be and name in model.__dict__:
                inside = model.__dict__[name]
                model.__dict__[name] = hidden(inside, path[1:], everything=everything, outermost=False)
            return model
    extra = model.__pydantic_extra__ or {}
    if path[0] in extra:
        name = str(path[0])
        extra[name] = hidden(extra[name], path[1:], everything=True, outermost=False)
    return model


def _part_hidden(value: Any, path: Sequence[str | int], everything: bool) -> Any:
    if isinstance(value, dict):
        if path[0] == WRAPPED:
            path = path[1:]
        if path[0] in value:
            value[path[0]] = hidden(value[path[0]], path[1:], everything=everything, outermost=False)
    elif isinstance(value, (list, tuple)) and isinstance(path[0], int) and path[0] < len(value):
        parts: list[Any] = list(value)
        parts[path[0]] = hidden(parts[path[0]], path[1:], everything=everything, outermost=False)
        return tuple(parts) if isinstance(value, tuple) else parts
    return value


def _is_open(annotation: Any) -> bool:
    """Say whether a type allows everything somewhere: there, a value does not get back to be a secret."""
    if annotation in _BARE or (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return True  # a model may have values beside its fields
    return any(_is_open(each) for each in get_args(annotation) if each is not Ellipsis)


def without_input(error: ValidationError) -> ValidationError:
    """Return the same error without what was validated: errors are pickled, and stored with failed runs."""
    lines = [
        InitErrorDetails(
            type=PydanticCustomError(cast(Any, each["type"]), cast(Any, each["msg"])),
            loc=each["loc"],
            input=None,
        )
        for each in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    return ValidationError.from_exception_data(error.title, lines, hide_input=True)
