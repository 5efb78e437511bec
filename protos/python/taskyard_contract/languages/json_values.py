"""JSON as values and arguments are written in it. Pure, and the same for whoever writes and whoever reads.

A value is its JSON. Arguments of a call are an object::

    {"args": [1, {"$taskyard.run": "0190b3c4-..."}], "kwargs": {"size": 3}}

- Both keys may be missing, which means empty; there are no others.
- An object whose only key is `$taskyard.run` stands for the result of an upstream run, at any depth. The
  run is an upstream edge of the submission as well: without one, its result does not come along.
- Keys of users that begin with `$taskyard.`, whatever number of dollars there is, get one dollar more in
  front when they are written and lose it when they are read. So a reference is never meant by chance, and
  an object with such a key that is no reference is a mistake.

What JSON has no form for is refused with its path: keys that are no text, numbers that are no numbers, sets,
bytes. Dataclasses, models, enums, dates, ids and decimals have a usual form, which declared types read back.
"""

import json
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final
from uuid import UUID

REFERENCE: Final = "$taskyard.run"
"""The key of an object that stands for the result of a run."""

Replace = Callable[[Any], Any]
"""Gets a part of a value; returns what is written for it, or the part itself."""

_RESERVED: Final = re.compile(r"\$+taskyard\.")
_TOLD: Final = (datetime, date, time, timedelta, UUID, Decimal)
_LONGEST_INT: Final = 14_000  # bits; with more digits Python refuses to read it
_PARTS: Final = frozenset({"args", "kwargs"})


class NotJson(TypeError):
    """Part of a value has no form in JSON."""

    def __init__(self, why: str, path: str = "") -> None:
        """Say what is wrong with the part, and where it lies in the value: ``['a'][3]``."""
        super().__init__(why, path)
        self.why = why
        self.path = path

    def __str__(self) -> str:
        """Say both."""
        return f"{self.path or 'the value'}: {self.why}"

    def inside(self, step: str) -> "NotJson":
        """Return the same, seen from the container around it."""
        return NotJson(self.why, step + self.path)


def dumps(value: Any) -> bytes:
    """Write a value.

    Raises:
        NotJson: A part of it has no form in JSON.
    """
    return _text(_guarded(value, _Writer()))


def dumps_arguments(args: tuple[Any, ...], kwargs: Mapping[str, Any], replace: Replace) -> bytes:
    """Write the arguments of a call; nothing when there are none.

    Args:
        args: Positional arguments.
        kwargs: Keyword arguments.
        replace: Called with each part, from outside in. What it returns instead is written: a `reference`
            as it is, anything else as a part of the user's.

    Raises:
        NotJson: A part of them has no form in JSON.
    """
    writer = _Writer(replace, escapes=True)
    written: dict[str, Any] = {}
    if args:
        written["args"] = [_guarded(value, writer, f"argument {at}") for at, value in enumerate(args)]
    if kwargs:
        written["kwargs"] = {
            _escaped(name): _guarded(value, writer, f"argument '{name}'") for name, value in kwargs.items()
        }
    return _text(written) if written else b""


class Reference:
    """Stands for the result of a run; what `Replace` returns for whatever awaits one."""

    __slots__ = ("run_id",)

    def __init__(self, run_id: bytes) -> None:
        """Stand for the result of this run."""
        self.run_id = run_id


def loads(data: bytes) -> Any:
    """Read a value.

    Raises:
        ValueError: It is no JSON.
    """
    return json.loads(data)


def loads_arguments(data: bytes, resolve: Callable[[bytes], Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Read the arguments of a call.

    Args:
        data: What was written; nothing means no arguments.
        resolve: Returns the result of an upstream run, by its id.

    Raises:
        ValueError: They are not written as arguments are.
        LookupError: `resolve` has no such result.
    """
    if not data:
        return (), {}

    def restored(found: dict[str, Any]) -> Any:
        if not any(key.startswith("$") for key in found):
            return found
        if REFERENCE in found and len(found) == 1:
            return resolve(_run_id(found[REFERENCE]))
        return {_unescaped(key): value for key, value in found.items()}

    # From inside out: what stands in the place of a reference is not looked at again.
    call = json.loads(data, object_hook=restored)
    if not isinstance(call, dict) or not call.keys() <= _PARTS:
        raise ValueError('arguments in JSON are an object: {"args": [...], "kwargs": {...}}')
    args, kwargs = call.get("args", []), call.get("kwargs", {})
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise ValueError('arguments in JSON are a list in "args", and an object in "kwargs"')
    return tuple(args), kwargs


def _run_id(text: object) -> bytes:
    try:
        return UUID(text if isinstance(text, str) else "").bytes
    except ValueError:
        raise ValueError(f'{{"{REFERENCE}": {text!r}}} does not name a run: expected a UUID') from None


def _unescaped(key: str) -> str:
    if not _RESERVED.match(key):
        return key
    if not key.startswith("$$"):
        raise ValueError(f"the key '{key}' is reserved; a key of one's own is written '${key}'")
    return key[1:]


def _escaped(key: str) -> str:
    return f"${key}" if key.startswith("$") and _RESERVED.match(key) else key


def _text(written: Any) -> bytes:
    return json.dumps(written, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _guarded(value: Any, writer: "_Writer", label: str = "") -> Any:
    try:
        return writer.written(value)
    except NotJson as error:
        raise error.inside(label) from None
    except RecursionError:
        raise NotJson("it is nested too deeply, or contains itself", label) from None


class _Writer:
    """Turns values into what JSON has: every part is looked at, because nothing may change silently."""

    def __init__(self, replace: Replace | None = None, escapes: bool = False) -> None:
        self._replace = replace
        self._escapes = escapes

    def written(self, value: Any) -> Any:
        kind = type(value)
        if kind is str:
            return value if value.isascii() else _encodable(value)
        if value is None or kind is bool:
            return value
        if kind is int or kind is float:
            return _number(value)
        if self._replace is not None:
            value = self._replace(value)
            if isinstance(value, Reference):
                return {REFERENCE: str(UUID(bytes=value.run_id))}
        if isinstance(value, dict):
            return self._object(value)
        if isinstance(value, list | tuple):
            return self._list(value)
        return self._other(value)

    def _list(self, value: list[Any] | tuple[Any, ...]) -> list[Any]:
        written = []
        for part in value:
            try:
                written.append(self.written(part))
            except NotJson as error:
                raise error.inside(f"[{len(written)}]") from None
        return written

    def _object(self, value: Mapping[Any, Any]) -> dict[str, Any]:
        written = {}
        for key, part in value.items():
            if not isinstance(key, str):
                raise NotJson(f"its key {key!r} is a {type(key).__qualname__}, and keys in JSON are text")
            try:
                name = self.written(_content(key))
                written[_escaped(name) if self._escapes else name] = self.written(part)
            except NotJson as error:
                raise error.inside(f"[{key!r}]") from None
        return written

    def _other(self, value: Any) -> Any:
        """Write what is not made of JSON's own kinds, or of classes derived from them."""
        if value is None or isinstance(value, bool):  # what `replace` made of something; a bool is an int
            return value
        if isinstance(value, Enum):
            return self.written(value.value)
        if isinstance(value, str):
            return self.written(_content(value))
        if isinstance(value, int | float):
            return _number(int(value) if isinstance(value, int) else float(value))
        if is_dataclass(value) and not isinstance(value, type):
            return self._attributes(
                {one.name: getattr(value, one.name) for one in fields(value) if hasattr(value, one.name)}
            )
        dump = getattr(type(value), "model_dump", None)
        if callable(dump):
            return self.written(_told(lambda: value.model_dump(mode="json"), value))
        if isinstance(value, _TOLD):
            from pydantic_core import to_jsonable_python

            return self.written(_told(lambda: to_jsonable_python(value), value))
        if isinstance(value, os.PathLike):
            return self.written(os.fspath(value))
        raise NotJson(f"a {type(value).__qualname__} has no form in JSON")

    def _attributes(self, value: Mapping[str, Any]) -> dict[str, Any]:
        written = {}
        for name, part in value.items():
            try:
                written[name] = self.written(part)
            except NotJson as error:
                raise error.inside(f".{name}") from None
        return written


def _told(tell: Callable[[], Any], value: Any) -> Any:
    try:
        return tell()
    except Exception as error:  # models run foreign code
        raise NotJson(f"a {type(value).__qualname__} cannot be written in JSON ({error})") from error


def _number(value: int | float) -> int | float:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NotJson(f"{value} is no number in JSON")
    elif value.bit_length() > _LONGEST_INT:
        raise NotJson("an int of so many digits cannot be read back")
    return value


def _content(text: str) -> str:
    """Return what a text holds, whatever its class makes of it for people: enums show their names."""
    return str.__str__(text)


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NotJson("text with half of a surrogate pair is no Unicode") from None
    return text
