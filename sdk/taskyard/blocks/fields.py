"""Types of fields for blocks, beside those of pydantic."""

from typing import TYPE_CHECKING, Any

from pydantic import Secret

from taskyard._missing_features import absent_names

__all__ = ["SecretDict"]

SecretDict = dict[str, Secret[Any]]
"""A dictionary whose values are secret, and whose keys are not."""

if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
