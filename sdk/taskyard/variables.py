"""Variables: named JSON values that programs, flows and tasks share, kept by the control plane.

In asynchronous code `get`, `set` and `unset` return awaitables; `aget`, `aset` and `aunset` always do.
"""

import asyncio
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from taskyard._async_dispatch import dispatched
from taskyard._missing_features import absent_names
from taskyard._network.server.kept_documents import kept_documents, not_understood

if TYPE_CHECKING:
    from taskyard._network.server.kept_documents import KeptDocuments
    from taskyard_api.v1.document_service_pb2 import Document

__all__ = ["Variable"]

KIND: Final = "variable"
"""Of the documents that variables are."""
_NAME: Final = re.compile("[a-z0-9_-]+")
_LONGEST_NAME: Final = 255


@dataclass(slots=True)
class Variable:
    """One variable, as `set` has stored it.

    Attributes:
        name: 1 to 255 lowercase letters, digits, dashes and underscores.
        value: None, a boolean, a number, a text, a list or a dictionary of these.
        tags: For people who look for it.
    """

    name: str
    value: Any
    tags: list[str] = field(default_factory=list)

    @classmethod
    def get(cls, name: str, default: Any = None) -> Any:
        """Return the value of a variable, `default` when there is none of this name."""
        return dispatched(lambda: _value(name, default))

    @classmethod
    async def aget(cls, name: str, default: Any = None) -> Any:
        """Read like `get`, without blocking the event loop."""
        return await asyncio.to_thread(_value, name, default)

    @classmethod
    def set(cls, name: str, value: Any, tags: list[str] | None = None, overwrite: bool = False) -> "Variable":
        """Set a variable, and return it; it is durable then.

        Args:
            name: Its name.
            value: Its value, which JSON has to know. At most 512 KiB of it.
            tags: For people who look for it; those of before do not stay.
            overwrite: Whether there may be one of this name already.

        Raises:
            ValueError: There is one already; or the name, the value or the tags can be none.
            DocumentTooLarge: The value is too large.
        """
        variable = cls(name, value, list(tags or ()))
        return dispatched(lambda: _stored(variable, overwrite))

    @classmethod
    async def aset(
        cls, name: str, value: Any, tags: list[str] | None = None, overwrite: bool = False
    ) -> "Variable":
        """Set like `set`, without blocking the event loop."""
        return await asyncio.to_thread(_stored, cls(name, value, list(tags or ())), overwrite)

    @classmethod
    def unset(cls, name: str) -> bool:
        """Remove a variable; returns whether there was one."""
        return dispatched(lambda: _removed(name))

    @classmethod
    async def aunset(cls, name: str) -> bool:
        """Remove like `unset`, without blocking the event loop."""
        return await asyncio.to_thread(_removed, name)


def _value(name: str, default: Any) -> Any:
    if not _is_name(name):
        return default  # there is none of such a name
    found = kept_documents(KIND).get(name)
    return default if found is None else variable_of(found).value


def _stored(variable: Variable, overwrite: bool) -> Variable:
    store_variable(kept_documents(KIND), variable, overwrite)
    return variable


def store_variable(documents: "KeptDocuments", variable: Variable, overwrite: bool) -> None:
    """Store a variable among the documents of a server.

    Raises:
        ValueError: As for `Variable.set`.
    """
    _check_name(variable.name)
    body = _written(variable)

    def decide(found: "Document | None") -> tuple[bytes, bytes]:
        if found is not None and not overwrite:
            raise ValueError(f"Variable {variable.name!r} already exists. Use `overwrite=True` to update it.")
        return body, b""

    documents.change(variable.name, decide)


def variable_of(document: "Document") -> Variable:
    """Return the variable that a document is.

    Raises:
        TaskyardError: It is written otherwise, by a program of another kind.
    """
    try:
        said = json.loads(document.body)
        return Variable(document.name, said["value"], list(said["tags"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise not_understood(KIND, document.name) from None


def _is_name(name: str) -> bool:
    return len(name) <= _LONGEST_NAME and _NAME.fullmatch(name) is not None


def _removed(name: str) -> bool:
    if not _is_name(name):
        return False
    return kept_documents(KIND).delete(name)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(
            "Variable name must only contain lowercase letters, numbers, and dashes or underscores,"
            f" got {name!r}"
        )
    if len(name) > _LONGEST_NAME:
        raise ValueError(f"Variable name has {len(name)} characters, at most {_LONGEST_NAME} are kept")


def _written(variable: Variable) -> bytes:
    """Write a variable as JSON that is read as the same value."""
    if not all(isinstance(tag, str) for tag in variable.tags):
        raise ValueError(f"the tags of variable '{variable.name}' must be texts")
    try:
        text = json.dumps({"value": variable.value, "tags": variable.tags}, allow_nan=False)
        same = json.loads(text)["value"] == variable.value
    except (TypeError, ValueError, RecursionError):
        same = False
    if not same:
        raise ValueError(
            f"variable '{variable.name}' cannot have this value of type {type(variable.value).__name__}: JSON"
            " has None, booleans, finite numbers, texts, lists, and dictionaries whose keys are texts"
        )
    return text.encode()


if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
