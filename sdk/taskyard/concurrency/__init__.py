"""Limits that all runs share, by name: `taskyard.concurrency.sync` and `taskyard.concurrency.asyncio`.

The control plane has no such limits yet, so asking for slots raises `taskyard.exceptions.NotSupported`.
"""

from typing import TYPE_CHECKING

from taskyard._missing_features import absent_names
from taskyard.concurrency import asyncio, sync

__all__ = ["asyncio", "sync"]

if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
