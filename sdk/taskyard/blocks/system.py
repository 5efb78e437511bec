"""Blocks that come with Taskyard."""

import json
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import pydantic
from pydantic import Field, SecretStr, field_validator

from taskyard._missing_features import absent_names
from taskyard.blocks.core import Block

__all__ = ["Secret"]

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


if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
