"""What a run was called with, for people. Pure.

Arguments in Python's own encoding are a pickle, and to read one is to execute what is in it, in an
interpreter that has the program's modules. Here nothing is executed or imported: what is none of Python's
plain values is replaced by a stand-in, which shows the name of its class and its plain public attributes.
"""

import io
import pickle
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from reprlib import Repr
from typing import TYPE_CHECKING, Any, Final

from taskyard._data.runs.short_ids import short_id
from taskyard_contract import references
from taskyard_contract.encodings import JSON, PICKLE
from taskyard_contract.languages import json_values

if TYPE_CHECKING:
    from taskyard_api.v1.run_service_pb2 import Run

_PLAIN: Final = (bool, int, float, str, type(None))
_MOST_BYTES: Final = 64 * 1024
_MOST_PARTS: Final = 1_000
"""Of a value, for programs: a short pickle can stand for a value without end."""
_RESOLVE: Final = (references.__name__, references.resolve.__name__)
"""What stands in arguments for the result of another run."""
_SAFE: Final[dict[tuple[str, str], type[Any]]] = {
    (kind.__module__, kind.__qualname__): kind
    for kind in (
        date,
        datetime,
        time,
        timedelta,
        timezone,
        Decimal,
        set,
        frozenset,
        complex,
    )
}
"""Classes that do nothing but hold a value."""


_short: Final = Repr()
_short.maxstring = _short.maxother = 60


class _Named(type):
    """The classes of stand-ins, which are values too: functions and classes are passed as arguments."""

    shown: str

    def __repr__(cls) -> str:
        return cls.shown


class _StandIn(metaclass=_Named):
    """Takes the place of an object that is none of Python's plain values."""

    shown = ""

    def __new__(cls, *_: Any, **__: Any) -> "_StandIn":
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        self._fields: Mapping[Any, Any] = {}

    def __call__(self, *_: Any, **__: Any) -> "_StandIn":
        return self

    def __setstate__(self, state: Any) -> None:
        self._fields = state if isinstance(state, dict) else {}

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def append(self, item: Any) -> None: ...

    def extend(self, items: Any) -> None: ...

    def add(self, item: Any) -> None: ...

    def __repr__(self) -> str:
        fields = getattr(self, "_fields", {})  # pickles of old protocols make objects without `__init__`
        # What is private is not told: it is where classes for secrets, such as pydantic's, have these.
        parts = [f"{name}={_field(value)}" for name, value in fields.items() if not _is_private(name)]
        hides = len(parts) < len(fields)
        return f"{self.shown}({', '.join([*parts, '...'] if hides else parts)})"


def _is_private(name: object) -> bool:
    return str(name).startswith("_")


def _field(value: Any) -> str:
    """Return one value inside an object; of another object only what it is, or a short pickle had no end."""
    if isinstance(value, _StandIn | _Named):
        return f"{value.shown}(...)"
    return (
        _short.repr(value)
        if isinstance(value, (*_PLAIN, *_SAFE.values()))
        else f"{type(value).__name__}(...)"
    )


def _stand_in(shown: str) -> Any:
    return _Named("StandIn", (_StandIn,), {"shown": shown})


class _Result(_StandIn):
    """Takes the place of what another run returns."""

    def __init__(self, run_id: bytes) -> None:
        super().__init__()
        self.shown = f"<result of {short_id(run_id)}>"

    def __repr__(self) -> str:
        return self.shown


class _Reader(pickle.Unpickler):
    """Reads a pickle in which nothing is looked up."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == _RESOLVE:
            return _Result
        return _SAFE.get((module, name)) or _stand_in(name)


def parameters_of(run: "Run") -> dict[str, Any] | None:
    """Return what a run was called with, by name; positional arguments by their numbers.

    None when nobody said it, or it cannot be known here: other encodings, blobs, data that is no call.
    """
    data = run.args.data
    if not data or len(data) > _MOST_BYTES or run.args.HasField("blob"):
        return None
    try:
        positional, named = _read(run.args.encoding, data)
        return {**{str(number): value for number, value in enumerate(positional)}, **named}
    except Exception:  # whatever it is that others have sent
        return None


def _read(encoding: str, data: bytes) -> Any:
    if encoding == PICKLE:
        return _Reader(io.BytesIO(data)).load()
    if encoding == JSON:
        return json_values.loads_arguments(data, _Result)
    raise ValueError(encoding)


def parameter_document(run: "Run") -> dict[str, Any] | None:
    """Return the same for programs: plain values as they are, others as text."""
    known = parameters_of(run)
    return None if known is None else {name: _Plain().of(value) for name, value in known.items()}


class _Plain:
    """Makes one value one of JSON, as far as that goes."""

    def __init__(self) -> None:
        self._left = _MOST_PARTS

    def of(self, value: Any) -> Any:
        self._left -= 1
        if isinstance(value, _PLAIN):
            return value
        if self._left > 0 and isinstance(value, list | tuple):
            return [self.of(item) for item in value]
        if self._left > 0 and isinstance(value, dict) and all(isinstance(key, str) for key in value):
            return {key: self.of(item) for key, item in value.items()}
        return str(value) if isinstance(value, (date, time, Decimal)) else _short.repr(value)


def shown_parameters(run: "Run") -> str:
    """Return the same on one line, what is long cut; nothing when it is not known."""
    return ", ".join(
        _short.repr(value) if name.isdigit() else f"{name}={_short.repr(value)}"
        for name, value in (parameters_of(run) or {}).items()
    )
