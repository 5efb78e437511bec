"""What artifacts can be, and how each kind is stored."""

import asyncio
import json
import logging
import math
import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict, field_validator
from pydantic_core import to_jsonable_python

from taskyard._async_dispatch import dispatched
from taskyard._durable_names import public
from taskyard._network.server.kept_documents import kept_documents
from taskyard.client.reading.artifacts import ArtifactStore
from taskyard.client.schemas.objects import Artifact as ArtifactResponse
from taskyard.context import FlowRunContext, TaskRunContext

if TYPE_CHECKING:
    from taskyard.client.orchestration import SyncTaskyardClient, TaskyardClient

    Client = SyncTaskyardClient | TaskyardClient | None

logger: Final = logging.getLogger("taskyard.artifacts")
Table = dict[str, list[Any]] | list[dict[str, Any]] | list[list[Any]]
"""Lists by the names of columns; or rows, as dictionaries or as lists."""
_KEY: Final = re.compile("[a-z0-9-]+")
_LONGEST_KEY: Final = 255
_FULL: Final = 100.0


@public("taskyard.artifacts")
class Artifact(BaseModel):
    """Something for people to see. The classes made of it know what it looks like.

    Attributes:
        type: What it is, a word.
        key: What people look for it under: lowercase letters, digits and dashes. None: only its runs name it.
        description: What it is about, Markdown.
        data: What is to be seen, which JSON has to know.
        metadata_: Further words about it.
        flow_run_id: The flow run it belongs to; by default the one around.
        task_run_id: The task run it belongs to; by default the one around.
    """

    model_config = ConfigDict(extra="forbid")

    type: str | None = None
    key: str | None = None
    description: str | None = None
    data: Any = None
    metadata_: dict[str, str] | None = None
    flow_run_id: UUID | None = None
    task_run_id: UUID | None = None

    @field_validator("key")
    @classmethod
    def _checked_key(cls, key: str | None) -> str | None:
        if key is not None and not _KEY.fullmatch(key):
            raise ValueError(
                f"Artifact key must only contain lowercase letters, numbers, and dashes, got {key!r}"
            )
        if key is not None and len(key) > _LONGEST_KEY:
            raise ValueError(f"Artifact key has {len(key)} characters, at most {_LONGEST_KEY} are kept")
        return key

    def create(self, client: "Client" = None) -> ArtifactResponse:
        """Store the artifact, for the run around, and return what is stored; it is durable then.

        Args:
            client: Whose control plane is meant; by default the one of the program.

        Raises:
            ValueError: JSON has nothing for it.
            DocumentTooLarge: It has more than 512 KiB.
        """
        return dispatched(partial(self._create, client))

    async def acreate(self, client: "Client" = None) -> ArtifactResponse:
        """Store like `create`, without blocking the event loop."""
        return await asyncio.to_thread(self._create, client)

    @classmethod
    def get(cls, key: str | None = None, client: "Client" = None) -> ArtifactResponse | None:
        """Return the newest artifact of a key, of None of all; None when there is none."""
        return dispatched(partial(_newest, key, client))

    @classmethod
    async def aget(cls, key: str | None = None, client: "Client" = None) -> ArtifactResponse | None:
        """Read like `get`, without blocking the event loop."""
        return await asyncio.to_thread(_newest, key, client)

    @classmethod
    def get_or_create(
        cls,
        key: str | None = None,
        description: str | None = None,
        data: Any = None,
        client: "Client" = None,
        **fields: Any,
    ) -> tuple[ArtifactResponse, bool]:
        """Return the newest artifact of a key and False; or store this one, and return it and True.

        Args:
            key: Its key.
            description: What a new one is about.
            data: What is to be seen on it.
            client: Whose control plane is meant.
            **fields: Further fields of a new one.
        """
        return dispatched(partial(cls._get_or_create, key, description, data, client, fields))

    @classmethod
    async def aget_or_create(
        cls,
        key: str | None = None,
        description: str | None = None,
        data: Any = None,
        client: "Client" = None,
        **fields: Any,
    ) -> tuple[ArtifactResponse, bool]:
        """Read or store like `get_or_create`, without blocking the event loop."""
        return await asyncio.to_thread(cls._get_or_create, key, description, data, client, fields)

    def format(self) -> Any:
        """Return what is stored as its data."""
        return dispatched(self._format)

    async def aformat(self) -> Any:
        """Return what `format` does."""
        return self._format()

    def _format(self) -> Any:
        return _as_json("data", self.data)

    def _create(self, client: "Client") -> ArtifactResponse:
        task_run, flow_run = TaskRunContext.get(), FlowRunContext.get()
        around = task_run or flow_run
        said = {
            "type": self.type,
            "key": self.key,
            "description": self.description,
            "data": self._format(),
            "metadata_": self.metadata_,
            "task_run_id": self.task_run_id or (task_run and task_run.task_run_id),
            "flow_run_id": self.flow_run_id or (around and around.flow_run_id),
        }
        return store_of(client).create(said)

    @classmethod
    def _get_or_create(
        cls, key: str | None, description: str | None, data: Any, client: "Client", fields: dict[str, Any]
    ) -> tuple[ArtifactResponse, bool]:
        found = _newest(key, client)
        if found is not None:
            return found, False
        made = cls(key=key, description=description, data=data, **fields)
        return made._create(client), True


@public("taskyard.artifacts")
class LinkArtifact(Artifact):
    """A link.

    Attributes:
        link: Where to.
        link_text: What is shown of it; by default the link.
    """

    link: str
    link_text: str | None = None
    type: str | None = "markdown"

    def _format(self) -> str:
        return f"[{self.link_text or self.link}]({self.link})"


@public("taskyard.artifacts")
class MarkdownArtifact(Artifact):
    """A text.

    Attributes:
        markdown: The text, Markdown.
    """

    markdown: str
    type: str | None = "markdown"

    def _format(self) -> str:
        return self.markdown


@public("taskyard.artifacts")
class TableArtifact(Artifact):
    """A table.

    Attributes:
        table: Lists by the names of columns; or rows, as dictionaries or as lists.
    """

    table: Table
    type: str | None = "table"

    def _format(self) -> str:
        return _as_json("table", self.table, _finite)


@public("taskyard.artifacts")
class ProgressArtifact(Artifact):
    """How far something is.

    Attributes:
        progress: From 0 to 100. Beyond, it is taken for the nearer one of these, with a warning.
    """

    progress: float
    type: str | None = "progress"

    def _format(self) -> float:
        if math.isnan(self.progress):
            raise ValueError("the progress of an artifact cannot be NaN; it is a number from 0 to 100")
        if not 0.0 <= self.progress <= _FULL:
            near = max(0.0, min(self.progress, _FULL))
            logger.warning("progress must be from 0 to 100, got %s; it is taken for %s", self.progress, near)
            self.progress = near
        return self.progress


@public("taskyard.artifacts")
class ImageArtifact(Artifact):
    """An image that is somewhere.

    Attributes:
        image_url: Its URL, which whoever looks at it has to reach.
    """

    image_url: str
    type: str | None = "image"

    def _format(self) -> str:
        return self.image_url


def _newest(key: str | None, client: "Client") -> ArtifactResponse | None:
    store = store_of(client)
    if key is not None:
        return next(store.versions(key), None) if _KEY.fullmatch(key) else None
    return max(store.all(), key=lambda each: each.updated, default=None)


def store_of(client: "Client") -> ArtifactStore:
    if client is None:
        return ArtifactStore(kept_documents)
    blocking: Any = getattr(client, "_blocking", client)
    store: ArtifactStore = blocking.artifacts()
    return store


def _as_json(what: str, value: Any, prepare: Callable[[Any], Any] = lambda value: value) -> str:
    try:
        return json.dumps(to_jsonable_python(prepare(value)), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"the {what} of the artifact is nothing that JSON has: {error}") from None


def _finite(value: Any) -> Any:
    """Return a table without NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value
