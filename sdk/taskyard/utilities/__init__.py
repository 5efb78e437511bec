"""Small helpers under the names that users of other workflow systems know."""

from typing import TYPE_CHECKING

from taskyard._missing_features import absent_names

__all__ = ["annotations", "asyncutils", "callables", "collections", "hashing", "visualization"]

if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
