"""Documents of blocks and of their types, as the control plane keeps them."""

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID, uuid4

from taskyard._network.server.kept_documents import KeptDocuments, kept_documents, not_understood
from taskyard.blocks.contents import Parts, Path

if TYPE_CHECKING:
    from taskyard_api.v1.document_service_pb2 import Document

BLOCK: Final = "block"
TYPE: Final = "block-type"
_NAME: Final = re.compile("[a-z0-9-]+")
_LONGEST_NAME: Final = 255


class StoredBlock(NamedTuple):
    """One saved block.

    Attributes:
        id: Its id, the same as long as its name is used.
        slug: Its type.
        name: Its name, the only one among those of its type.
        anonymous: Whether a program made the name up, which people do not look for.
        data: Its content, without what is secret.
        secret: What is secret, if it was asked for.
        secret_paths: Where in the content that belongs.
    """

    id: UUID
    slug: str
    name: str
    anonymous: bool
    data: dict[str, Any]
    secret: bytes
    secret_paths: list[Path]


def check_name(name: str) -> None:
    """Check the name of a block that people give.

    Raises:
        ValueError: It can be none.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"Block document name must only contain lowercase letters, numbers, and dashes, got {name!r}"
        )
    if len(name) > _LONGEST_NAME:
        raise ValueError(f"Block document name has {len(name)} characters, at most {_LONGEST_NAME} are kept")


def read_block(slug: str, name: str) -> StoredBlock | None:
    """Read a block with what is secret in it; None when there is none."""
    found = kept_documents(BLOCK).get(f"{slug}/{name}", include_secret=True)
    return None if found is None else block_of(found)


def find_block(block_id: UUID) -> StoredBlock | None:
    """Read a block by its id. All have to be looked at for that: names are quicker."""
    documents = kept_documents(BLOCK)
    for document in documents.all():
        found = block_of(document)
        if found.id == block_id:
            whole = documents.get(document.name, include_secret=True)
            return None if whole is None else block_of(whole)
    return None


def write_block(
    slug: str,
    name: str,
    parts: Parts,
    *,
    anonymous: bool,
    may_overwrite: Callable[[], bool],
) -> UUID:
    """Store a block, and return its id.

    Args:
        slug: Its type.
        name: Its name.
        parts: Its content.
        anonymous: Whether a program made the name up.
        may_overwrite: Called if there is one of this name: whether it may be replaced; or raises.
    """
    block_id = uuid4()

    def decide(found: "Document | None") -> tuple[bytes, bytes] | None:
        nonlocal block_id
        if found is not None:
            if not may_overwrite():
                return None
            block_id = block_of(found).id
        body = {
            "id": str(block_id),
            "anonymous": anonymous,
            "data": parts.data,
            "secret_paths": parts.secret_paths(),
        }
        return json.dumps(body).encode(), parts.secret_bytes()

    kept_documents(BLOCK).change(f"{slug}/{name}", decide)
    return block_id


def remove_block(slug: str, name: str) -> bool:
    """Delete a block; returns whether there was one."""
    return kept_documents(BLOCK).delete(f"{slug}/{name}")


def write_type(documents: KeptDocuments, slug: str, said: dict[str, Any]) -> None:
    """Store what is known of a type of blocks, unless exactly that is stored already."""
    body = json.dumps(said, sort_keys=True).encode()

    def decide(found: "Document | None") -> tuple[bytes, bytes] | None:
        return None if found is not None and found.body == body else (body, b"")

    documents.change(slug, decide)


def block_of(document: "Document") -> StoredBlock:
    """Return the block that a document is.

    Raises:
        TaskyardError: It is written otherwise, by a program of another kind.
    """
    slug, _, name = document.name.partition("/")
    try:
        said = json.loads(document.body)
        block_id, anonymous, data, paths = (said[key] for key in ("id", "anonymous", "data", "secret_paths"))
        return StoredBlock(
            UUID(block_id), slug, name, bool(anonymous), dict(data), document.secret, list(paths)
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise not_understood(BLOCK, document.name) from None
