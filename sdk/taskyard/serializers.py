"""Serializers: how results are written into storage, and read back.

A serializer is known by its `type`, the word that options and records say: ``"pickle"``, ``"json"``,
``"compressed/pickle"``, ``"compressed/json"``, and what classes derived from `Serializer` call themselves.
Its annotated attributes are its options: ``Own(level=5)``.

Invariant: what a record says of its serializer never names code, only a type that this process knows.
"""

import json
import pickle
from dataclasses import dataclass, field, fields
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, dataclass_transform

from taskyard._durable_names import public
from taskyard._missing_features import absent_names
from taskyard_contract import pickling

__all__ = [
    "CompressedJSONSerializer",
    "CompressedPickleSerializer",
    "CompressedSerializer",
    "JSONSerializer",
    "PickleSerializer",
    "Serializer",
]

_registered: Final[dict[str, "type[Serializer]"]] = {}
_made: Final[dict[str, "Serializer"]] = {}
_PICKLE_LIBRARIES: Final = ("cloudpickle", "pickle")
_COMPRESSION_LIBRARIES: Final = ("lzma", "zlib", "gzip", "bz2")


@dataclass_transform(kw_only_default=True)
class Serializer:
    """Writes values as bytes and reads them back: derive from it, with a `type` of your own."""

    type: str
    """The word that options and records know it by."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Make the annotated attributes options, and remember the class by its type."""
        super().__init_subclass__(**options)
        dataclass(kw_only=True)(cls)
        own = getattr(cls, "type", None)
        if isinstance(own, str):
            _registered[own] = cls

    def dumps(self, obj: Any) -> bytes:
        """Write a value."""
        raise NotImplementedError(f"{type(self).__qualname__} has no method dumps(obj)")

    def loads(self, blob: bytes) -> Any:
        """Read a value."""
        raise NotImplementedError(f"{type(self).__qualname__} has no method loads(blob)")

    def described(self) -> dict[str, Any]:
        """Return what records say of it: its type, and those of its options that are not as by default."""
        said: dict[str, Any] = {"type": self.type}
        usual = _registered.get(self.type) and _named(self.type)
        for one in fields(self):  # type: ignore[arg-type]  # each subclass is a dataclass
            value = getattr(self, one.name, None)
            plain = value.described() if isinstance(value, Serializer) else value
            if value != getattr(usual, one.name, None) and _is_plain(plain):
                said[one.name] = plain
        return said


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


@public("taskyard.serializers")
class PickleSerializer(Serializer):
    """Writes nearly everything that Python has. Reading a pickle executes code: read only what you trust."""

    type: str = "pickle"
    picklelib: str = "cloudpickle"
    """``"cloudpickle"`` writes what has no module as well, ``"pickle"`` refuses that."""

    def __post_init__(self) -> None:
        """Refuse libraries that are not known."""
        _check("picklelib", self.picklelib, _PICKLE_LIBRARIES)

    def dumps(self, obj: Any) -> bytes:
        """Write a value, with the code of the main module that it needs: other programs may read it."""
        if self.picklelib == "pickle":
            return pickle.dumps(obj, pickling.PROTOCOL)
        data = pickling.dumps_for_later(obj)
        return data if isinstance(data, bytes) else pickling.dumps(obj)

    def loads(self, blob: bytes) -> Any:
        """Read a value."""
        return pickling.loads(blob)


@public("taskyard.serializers")
class JSONSerializer(Serializer):
    """Writes JSON, which other languages read. Tuples come back as lists."""

    type: str = "json"
    dumps_kwargs: dict[str, Any] = field(default_factory=dict)
    """For `json.dumps`; with any of them it alone decides what has a form."""
    loads_kwargs: dict[str, Any] = field(default_factory=dict)
    """For `json.loads`, likewise."""

    def dumps(self, obj: Any) -> bytes:
        """Write a value.

        Raises:
            TypeError: It has no form in JSON.
        """
        if self.dumps_kwargs:
            return json.dumps(obj, **self.dumps_kwargs).encode()
        from taskyard_contract.languages import json_values

        return json_values.dumps(obj)

    def loads(self, blob: bytes) -> Any:
        """Read a value."""
        if self.loads_kwargs or self.dumps_kwargs:
            return json.loads(blob, **self.loads_kwargs)
        from taskyard_contract.languages import json_values

        return json_values.loads(blob)


@public("taskyard.serializers")
class CompressedSerializer(Serializer):
    """Compresses what another serializer writes."""

    type: str = "compressed"
    serializer: Serializer | str = "pickle"
    compressionlib: str = "lzma"
    """``"lzma"``, ``"zlib"``, ``"gzip"`` or ``"bz2"``."""

    def __post_init__(self) -> None:
        """Refuse libraries that are not known."""
        self.serializer = serializer_of(self.serializer)
        _check("compressionlib", self.compressionlib, _COMPRESSION_LIBRARIES)

    def dumps(self, obj: Any) -> bytes:
        """Write a value, and compress it."""
        data: bytes = import_module(self.compressionlib).compress(serializer_of(self.serializer).dumps(obj))
        return data

    def loads(self, blob: bytes) -> Any:
        """Read a value that was compressed."""
        return serializer_of(self.serializer).loads(import_module(self.compressionlib).decompress(blob))


@public("taskyard.serializers")
class CompressedPickleSerializer(CompressedSerializer):
    """Compressed pickles."""

    type: str = "compressed/pickle"
    serializer: Serializer | str = "pickle"


@public("taskyard.serializers")
class CompressedJSONSerializer(CompressedSerializer):
    """Compressed JSON."""

    type: str = "compressed/json"
    serializer: Serializer | str = "json"


def serializer_of(given: Any) -> Serializer:
    """Return the serializer that an option means: one for each word.

    Raises:
        ValueError: No serializer has this type.
        TypeError: It is neither a serializer nor its type.
    """
    if isinstance(given, Serializer):
        return given
    if isinstance(given, str):
        return _named(given)
    raise TypeError(
        f"'result_serializer' must be a serializer of taskyard.serializers, or its type such as 'json', got "
        f"{given!r}"
    )


def _named(name: str) -> Serializer:
    kind = _registered.get(name)
    if kind is None:
        raise ValueError(
            f"there is no serializer '{name}'; known are {', '.join(sorted(_registered))}, and classes "
            "derived from taskyard.serializers.Serializer once their module is imported"
        )
    made = _made.get(name)
    if type(made) is not kind:  # none yet, or its class was defined again
        made = _made[name] = kind()
    return made


def from_description(said: dict[str, Any]) -> Serializer:
    """Return the serializer that `Serializer.described` described.

    Raises:
        ValueError: It is not known here, or has other options here.
    """
    name, options = str(said.get("type")), {key: value for key, value in said.items() if key != "type"}
    if not options:
        return serializer_of(name)
    kind = type(serializer_of(name))
    if isinstance(options.get("serializer"), dict):
        options["serializer"] = from_description(options["serializer"])
    try:
        return kind(**options)
    except TypeError as error:
        raise ValueError(f"the serializer '{name}' does not have these options here: {error}") from error


def _check(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"'{option}' is '{value}'; it must be one of {', '.join(known)}")


if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
