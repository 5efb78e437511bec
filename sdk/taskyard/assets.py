"""Assets: what tasks make that outlives their runs, and who made it of what.

`materialize` makes a task of a function, as `task` does, and says which assets its runs make. When such a run
has ended, the control plane keeps what became of them: `read_asset` and ``taskyard asset`` tell it.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, Unpack

from taskyard._async_dispatch import dispatched
from taskyard._engine.assets import records
from taskyard._engine.assets.asset import Asset, AssetProperties, add_asset_metadata
from taskyard._engine.assets.records import AssetRecord, Materialization
from taskyard._engine.definitions.decorated import P, R
from taskyard._engine.definitions.task_options import TaskOptions
from taskyard._missing_features import absent_names
from taskyard.tasks import MaterializingTask

__all__ = [
    "Asset",
    "AssetProperties",
    "AssetRecord",
    "Materialization",
    "MaterializingTask",
    "add_asset_metadata",
    "aread_asset",
    "aread_assets",
    "materialize",
    "read_asset",
    "read_assets",
]

_BARE: Final = (
    'materialize requires at least one asset argument, as in @materialize("s3://bucket/orders.csv")'
)


def materialize(
    *assets: str | Asset, by: str | None = None, **options: Unpack[TaskOptions]
) -> Callable[[Callable[P, R]], MaterializingTask[P, R]]:
    """Make a task of a function whose runs make assets. A decorator.

    Args:
        *assets: What they make: assets, or their keys.
        by: The tool that does it, "dbt", for people.
        **options: See `taskyard.task`.

    Raises:
        TypeError: There are no assets; or an option has the wrong type.
        ValueError: The key of an asset can be none; or an option is out of range.
    """
    if not assets or callable(assets[0]):  # the latter is the function, of a decorator without brackets
        raise TypeError(_BARE)

    def decorate(fn: Callable[P, R]) -> MaterializingTask[P, R]:
        return MaterializingTask(fn, assets=assets, materialized_by=by, **options)

    return decorate


def read_asset(key: str) -> AssetRecord | None:
    """Return what is recorded of an asset; None for nothing. In asynchronous code, an awaitable of it.

    Args:
        key: Its key.
    """
    return dispatched(partial(records.read, key))


async def aread_asset(key: str) -> AssetRecord | None:
    """Read like `read_asset`, without blocking the event loop."""
    return await asyncio.to_thread(records.read, key)


def read_assets(prefix: str = "") -> list[AssetRecord]:
    """Return what is recorded of all assets whose keys begin like this, in the order of their keys.

    In asynchronous code, an awaitable of it.
    """
    return dispatched(lambda: list(records.read_all(prefix)))


async def aread_assets(prefix: str = "") -> list[AssetRecord]:
    """Read like `read_assets`, without blocking the event loop."""
    return await asyncio.to_thread(lambda: list(records.read_all(prefix)))


if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
