"""Artifacts: what runs leave for people to see, tables, texts, links, images and how far they are.

Kept by the control plane, with the ids of the runs that made them; those of one key are its versions, of
which the newest 100 stay. In asynchronous code functions and methods return awaitables; those that begin with
"a" always do.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from taskyard._async_dispatch import dispatched
from taskyard._missing_features import absent_names
from taskyard.artifacts.kinds import (
    Artifact,
    ImageArtifact,
    LinkArtifact,
    MarkdownArtifact,
    ProgressArtifact,
    Table,
    TableArtifact,
    store_of,
)
from taskyard.client.schemas.objects import Artifact as ArtifactResponse

if TYPE_CHECKING:
    from taskyard.client.orchestration import SyncTaskyardClient, TaskyardClient

    Client = SyncTaskyardClient | TaskyardClient | None

__all__ = [
    "Artifact",
    "ArtifactResponse",
    "ImageArtifact",
    "LinkArtifact",
    "MarkdownArtifact",
    "ProgressArtifact",
    "TableArtifact",
    "acreate_image_artifact",
    "acreate_link_artifact",
    "acreate_markdown_artifact",
    "acreate_progress_artifact",
    "acreate_table_artifact",
    "aupdate_progress_artifact",
    "create_image_artifact",
    "create_link_artifact",
    "create_markdown_artifact",
    "create_progress_artifact",
    "create_table_artifact",
    "update_progress_artifact",
]


def create_link_artifact(
    link: str,
    link_text: str | None = None,
    key: str | None = None,
    description: str | None = None,
    client: "Client" = None,
) -> UUID:
    """Leave a link, for the run around; returns the id of the artifact, which is durable then.

    Args:
        link: Where to.
        link_text: What is shown of it; by default the link.
        key: What people look for it under: lowercase letters, digits and dashes.
        description: What it is about, Markdown.
        client: Whose control plane is meant; by default the one of the program.

    Raises:
        ValueError: The key can be none.
        DocumentTooLarge: It has more than 512 KiB.
    """
    made = LinkArtifact(link=link, link_text=link_text, key=key, description=description)
    return dispatched(_creating(made, client))


async def acreate_link_artifact(
    link: str,
    link_text: str | None = None,
    key: str | None = None,
    description: str | None = None,
    client: "Client" = None,
) -> UUID:
    """Leave a link like `create_link_artifact`, without blocking the event loop."""
    made = LinkArtifact(link=link, link_text=link_text, key=key, description=description)
    return await asyncio.to_thread(_creating(made, client))


def create_markdown_artifact(markdown: str, key: str | None = None, description: str | None = None) -> UUID:
    """Leave a text, Markdown; for all else see `create_link_artifact`."""
    made = MarkdownArtifact(markdown=markdown, key=key, description=description)
    return dispatched(_creating(made))


async def acreate_markdown_artifact(
    markdown: str, key: str | None = None, description: str | None = None
) -> UUID:
    """Leave a text like `create_markdown_artifact`, without blocking the event loop."""
    made = MarkdownArtifact(markdown=markdown, key=key, description=description)
    return await asyncio.to_thread(_creating(made))


def create_table_artifact(table: Table, key: str | None = None, description: str | None = None) -> UUID:
    """Leave a table: lists by the names of columns, or rows. NaN is stored as null.

    For all else see `create_link_artifact`.

    Raises:
        ValueError: JSON has nothing for a value in it.
    """
    return dispatched(_creating(TableArtifact(table=table, key=key, description=description)))


async def acreate_table_artifact(
    table: Table, key: str | None = None, description: str | None = None
) -> UUID:
    """Leave a table like `create_table_artifact`, without blocking the event loop."""
    made = TableArtifact(table=table, key=key, description=description)
    return await asyncio.to_thread(_creating(made))


def create_progress_artifact(progress: float, key: str | None = None, description: str | None = None) -> UUID:
    """Say how far something is, from 0 to 100; the id is for `update_progress_artifact`."""
    return dispatched(_creating(ProgressArtifact(progress=progress, key=key, description=description)))


async def acreate_progress_artifact(
    progress: float, key: str | None = None, description: str | None = None
) -> UUID:
    """Say how far something is like `create_progress_artifact`, without blocking the event loop."""
    made = ProgressArtifact(progress=progress, key=key, description=description)
    return await asyncio.to_thread(_creating(made))


def update_progress_artifact(
    artifact_id: UUID, progress: float, description: str | None = None, client: "Client" = None
) -> UUID:
    """Say how far it is now; returns the same id.

    Args:
        artifact_id: What `create_progress_artifact` has returned.
        progress: From 0 to 100.
        description: What it is about; None leaves that.
        client: Whose control plane is meant; by default the one of the program.

    Raises:
        ObjectNotFound: There is no such artifact.
    """
    return dispatched(partial(_update_progress, artifact_id, progress, description, client))


async def aupdate_progress_artifact(
    artifact_id: UUID, progress: float, description: str | None = None, client: "Client" = None
) -> UUID:
    """Say it like `update_progress_artifact`, without blocking the event loop."""
    return await asyncio.to_thread(_update_progress, artifact_id, progress, description, client)


def create_image_artifact(image_url: str, key: str | None = None, description: str | None = None) -> UUID:
    """Leave an image that is at a URL; for all else see `create_link_artifact`."""
    return dispatched(_creating(ImageArtifact(image_url=image_url, key=key, description=description)))


async def acreate_image_artifact(
    image_url: str, key: str | None = None, description: str | None = None
) -> UUID:
    """Leave an image like `create_image_artifact`, without blocking the event loop."""
    made = ImageArtifact(image_url=image_url, key=key, description=description)
    return await asyncio.to_thread(_creating(made))


def _creating(made: Artifact, client: "Client" = None) -> Callable[[], UUID]:
    return lambda: made._create(client).id


def _update_progress(artifact_id: UUID, progress: float, description: str | None, client: "Client") -> UUID:
    said: dict[str, Any] = {"data": ProgressArtifact(progress=progress)._format()}
    if description is not None:
        said["description"] = description
    return store_of(client).update(artifact_id, said).id


if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
