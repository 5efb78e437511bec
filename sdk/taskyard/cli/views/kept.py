"""Variables and blocks as plain documents, for ``--json``. Pure."""

from typing import TYPE_CHECKING, Any

from taskyard.blocks.contents import shown
from taskyard.blocks.stored import block_of
from taskyard.cli.views.documents import moment
from taskyard.variables import variable_of

if TYPE_CHECKING:
    from taskyard_api.v1.document_service_pb2 import Document


def variable_document(document: "Document") -> dict[str, Any]:
    """Return a variable."""
    variable = variable_of(document)
    return {
        "name": variable.name,
        "value": variable.value,
        "tags": variable.tags,
        "changed": moment(document.updated_us),
    }


def block_document(document: "Document") -> dict[str, Any]:
    """Return a block, with asterisks for what is secret."""
    block = block_of(document)
    return {
        "type": block.slug,
        "name": block.name,
        "id": str(block.id),
        "anonymous": block.anonymous,
        "changed": moment(document.updated_us),
        "has_secrets": document.has_secret,
        "data": shown(block.data, block.secret_paths),
    }
