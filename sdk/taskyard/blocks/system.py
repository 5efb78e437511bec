"""Blocks that come with Taskyard."""

import datetime
import json
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import pydantic
from pydantic import Field, SecretStr, field_validator

from taskyard._missing_features import absent_names
from taskyard.blocks.core import Block

__all__ = ["JSON", "DateTime", "Secret", "String"]

T = TypeVar("T")


class Secret(Block, Generic[T]):
    """A secret value: a text, or any value of JSON.

    Attributes:
        value: The value, shown as asterisks; `get` tells it.
    """

    value: SecretStr | pydantic.Secret[Any] = Field(description="A value that should be kept secret.")

    @field_validator("value", mode="before")
    @classmethod
    def _hidden(cls, value: Any) -> SecretStr | pydantic.Secret[Any]:
        if isinstance(value, (SecretStr, pydantic.Secret)):
            return value
        return SecretStr(value) if isinstance(value, str) else pydantic.Secret[Any](value)

    def get(self) -> Any:
        """Return the value. A text that is a JSON object or array is read as such; other texts stay texts."""
        value = self.value.get_secret_value()
        if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
            try:
                return json.loads(value)
            except (ValueError, RecursionError):
                pass  # it only begins like one
        return value


class JSON(Block):
    """A value that JSON has. Variables are made for these, see `taskyard.variables`.

    Attributes:
        value: The value.
    """

    _block_type_name: ClassVar[str | None] = "JSON"

    value: Any = Field(description="A JSON-compatible value.")


class String(Block):
    """A text. Variables are made for these.

    Attributes:
        value: The text.
    """

    value: str = Field(description="A string value.")


class DateTime(Block):
    """A time.

    Attributes:
        value: The time; as text ISO 8601.
    """

    _block_type_name: ClassVar[str | None] = "Date Time"

    value: datetime.datetime = Field(description="An ISO 8601-compatible datetime value.")


if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
