"""An asset: something that tasks make and others need, under a URI that names it everywhere."""

import json
import re
import threading
from collections.abc import Iterable
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import to_jsonable_python

from taskyard._durable_names import public
from taskyard.context import TaskRunContext

LONGEST_KEY: Final = 512
LONGEST_DESCRIPTION: Final = 2500
MOST_METADATA_BYTES: Final = 64 * 1024
MOST_UPSTREAM_BYTES: Final = 64 * 1024
MOST_PROPERTIES_BYTES: Final = 64 * 1024
_URI: Final = re.compile("[a-z0-9]+://")
_lock: Final = threading.Lock()
_FORBIDDEN: Final = frozenset("\n\r\t\0 #?&%\"'<>[]{}|\\^`")


@public("taskyard.assets")
class AssetProperties(BaseModel):
    """What people are told of an asset.

    Attributes:
        name: What it is called.
        url: Where to look at it.
        description: What it is, in at most 2,500 characters of Markdown.
        owners: Who answers for it.
    """

    model_config = ConfigDict(frozen=True)

    name: str | None = None
    url: str | None = None
    description: str | None = Field(default=None, max_length=LONGEST_DESCRIPTION)
    owners: list[str] | None = None

    @model_validator(mode="after")
    def _checked_size(self) -> Self:
        size = len(json.dumps(self.model_dump(mode="json")))
        if size > MOST_PROPERTIES_BYTES:
            raise ValueError(
                f"the properties of an asset have {size} bytes as JSON, at most {MOST_PROPERTIES_BYTES} are"
                " recorded"
            )
        return self


@public("taskyard.assets")
class Asset(BaseModel):
    """Something that tasks make, or need, and that has a place outside of runs: a table, a file, a model.

    Attributes:
        key: Its URI with a lowercase scheme, "s3://bucket/orders.parquet": at most 512 bytes, without
            whitespace and the characters that mean something else in URIs.
        properties: What people are told of it.
    """

    model_config = ConfigDict(frozen=True)

    key: str
    properties: AssetProperties | None = None

    def __init__(self, key: str, **data: Any) -> None:
        """Name an asset; its key may be given without its name.

        Raises:
            ValueError: The key can be none, or the description is too long.
        """
        super().__init__(key=key, **data)

    @field_validator("key")
    @classmethod
    def _checked_key(cls, key: str) -> str:
        for character in key:
            if character in _FORBIDDEN:
                raise ValueError(f"Asset key cannot contain {character!r}")
        size = max(len(key), len(key.encode()))
        if size > LONGEST_KEY:
            raise ValueError(f"Asset key cannot exceed {LONGEST_KEY} characters, as UTF-8: it has {size}")
        if not _URI.match(key):
            raise ValueError(
                "Key must be a valid URI, e.g. storage://bucket/folder/asset.csv; its scheme is lowercase"
            )
        return key

    def __hash__(self) -> int:
        """Hash the key: properties are for people."""
        return hash(self.key)

    def __repr__(self) -> str:
        return f"Asset(key={self.key!r})"

    def add_metadata(self, metadata: dict[str, Any]) -> None:
        """Have what is recorded of this asset, when the task run around has ended, say more; see
        `add_asset_metadata`.
        """
        add_asset_metadata(self, metadata)


@public("taskyard.assets")
def add_asset_metadata(asset: str | Asset, metadata: dict[str, Any]) -> None:
    """Have what is recorded of an asset say more: counts, checksums, versions. Called in its task.

    Args:
        asset: One of those that the task materializes, or its key.
        metadata: By name, as JSON has it: at most 64 KiB together. Later values of a name win.

    Raises:
        RuntimeError: No task run is around.
        ValueError: The task around materializes no such asset; or JSON does not have this, or too much of it.
    """
    context = TaskRunContext.get()
    if context is None:
        raise RuntimeError(
            "Unable to add Asset metadata: no task run is around. Call this in a function decorated with"
            " @materialize, while it runs"
        )
    key = asset.key if isinstance(asset, Asset) else asset
    if key not in (each.key for each in getattr(context.task, "assets", ())):
        raise ValueError(
            f"Can only add metadata to assets that are arguments to @materialize, and '{key}' is none of"
            f" those of task '{context.task.name}'"
        )
    with _lock:  # threads of the task may have its context, see `hydrated_context`
        added = metadata_of(context)
        added[key] = _checked_metadata(key, {**added.get(key, {}), **metadata})


def metadata_of(context: TaskRunContext) -> dict[str, dict[str, Any]]:
    """Return what was added in a task run so far, by the keys of assets."""
    try:
        found: dict[str, dict[str, Any]] = context.asset_metadata
    except AttributeError:
        found = context.asset_metadata = {}
    return found


def _checked_metadata(key: str, metadata: dict[str, Any]) -> dict[str, Any]:
    try:
        text = json.dumps(to_jsonable_python(metadata), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"the metadata of asset '{key}' is nothing that JSON has: {error}") from None
    if len(text) > MOST_METADATA_BYTES:
        raise ValueError(
            f"the metadata of asset '{key}' has {len(text)} bytes as JSON, at most {MOST_METADATA_BYTES} are"
            " recorded; put it beside the asset, and its place here"
        )
    written: dict[str, Any] = json.loads(text)
    return written


def checked_assets(option: str, given: Any) -> tuple[Asset, ...]:
    """Return assets as options keep them: each once, in their order.

    Raises:
        TypeError: One is no asset and no text.
        ValueError: The key of one can be none.
    """
    if isinstance(given, (str, Asset)) or not isinstance(given, Iterable):
        raise TypeError(f"'{option}' must be a list of assets or of their keys, got {given!r}")
    found: dict[str, Asset] = {}
    for each in given:
        if not isinstance(each, (str, Asset)):
            raise TypeError(f"'{option}' must hold assets or their keys, got {each!r}")
        asset = Asset(each) if isinstance(each, str) else each
        found.setdefault(asset.key, asset)
    return tuple(found.values())
