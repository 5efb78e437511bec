"""DocumentService: small named documents that programs keep, and what is secret in them."""
# The contract names the methods, and says what they promise.

import re
from typing import Any, Final

from taskyard_api.v1 import document_service_pb2 as pb
from taskyard_api.v1 import document_service_pb2_grpc
from taskyard_contract.errors import DocumentNotFound, DocumentTooLarge, InvalidRequest, VersionConflict
from taskyard_controlplane.reading import page_tokens
from taskyard_controlplane.reading.background import Background
from taskyard_controlplane.reading.pages import first_page_of
from taskyard_controlplane.rpc.directory import Directory
from taskyard_controlplane.rpc.documents.rows import (
    CHANGE_ID_BYTES,
    Content,
    Place,
    content_of,
    place_of,
    rows_after,
)
from taskyard_controlplane.sealing.keys import KeyRing
from taskyard_controlplane.sealing.sealed import seal, unseal
from taskyard_controlplane.settings import RpcSettings
from taskyard_controlplane.storage.interface import Document, Reader

USUAL_PAGE: Final = 100  # what somebody looks through
MAX_NAME_BYTES: Final = 512
MAX_BYTES: Final = 512 * 1024
"""Of body and secret together: larger things are blobs."""
_KIND: Final = re.compile("[a-z][a-z0-9_.-]{0,63}")
_NO_CHANGE: Final = bytes(CHANGE_ID_BYTES)


class DocumentService(document_service_pb2_grpc.DocumentServiceServicer):
    """Implements the service over the owner, which changes, and a reader."""

    def __init__(
        self,
        directory: Directory,
        reader: Reader,
        background: Background,
        settings: RpcSettings,
        keys: KeyRing,
    ) -> None:
        """Read, encrypt and decrypt on the threads of `background`."""
        self._directory = directory
        self._documents = reader.documents
        self._background = background
        self._settings = settings
        self._keys = keys

    async def GetDocument(self, request: pb.GetDocumentRequest, context: Any) -> pb.GetDocumentResponse:
        place = _checked(request)
        row = await self._background(self._documents.get, *place)
        if row is None:
            raise DocumentNotFound(f"there is no {request.kind} '{request.name}'")
        document, content = _message(row, request.kind, request.name), content_of(row)
        if request.include_secret and content.sealed:
            document.secret = await self._background(unseal, self._keys, str(place), content.sealed)
        return pb.GetDocumentResponse(document=document)

    async def PutDocument(self, request: pb.PutDocumentRequest, context: Any) -> pb.PutDocumentResponse:
        place = _checked(request)
        _check_content(request)
        sealed = b""
        if request.secret:
            sealed = await self._background(seal, self._keys, str(place), request.secret)
        content = Content(request.change_id or _NO_CHANGE, sealed, request.body)
        documents = self._directory.owner().documents
        try:
            stored = await documents.put(*place, request.version, content.packed())
        except VersionConflict:
            found = await self._own_change(place, request.change_id)
            if found is None:
                raise _conflict(request) from None
            stored = found
        return pb.PutDocumentResponse(version=stored.version, updated_us=stored.updated_us)

    async def ListDocuments(self, request: pb.ListDocumentsRequest, context: Any) -> pb.ListDocumentsResponse:
        _check_kind(request.kind)
        scope = f"{request.kind}\x00{request.prefix}"
        after = page_tokens.decode_name(request.page_token, scope)
        limit = page_tokens.page_size(request.page_size, USUAL_PAGE, self._settings.max_page_size)
        prefix = place_of(request.namespace, request.kind, request.prefix)
        behind = place_of(request.namespace, request.kind, after).name if request.page_token else ""
        own = len(prefix.name) - len(request.prefix)  # what the names of rows begin with is no part of ours

        def page() -> tuple[list[pb.Document], bool]:
            rows = rows_after(self._documents, prefix, behind)
            found = first_page_of((_message(row, request.kind, row.name[own:]) for row in rows), limit)
            return found, next(rows, None) is not None

        found, more = await self._background(page)
        token = page_tokens.encode_name(found[-1].name, scope) if more else ""
        return pb.ListDocumentsResponse(documents=found, next_page_token=token)

    async def DeleteDocument(
        self, request: pb.DeleteDocumentRequest, context: Any
    ) -> pb.DeleteDocumentResponse:
        place = _checked(request)
        if not request.version:
            raise InvalidRequest("version is 0; GetDocument tells it", field="version")
        try:
            await self._directory.owner().documents.delete(*place, request.version)
        except VersionConflict:
            raise _conflict(request) from None
        return pb.DeleteDocumentResponse()

    async def _own_change(self, place: Place, change_id: bytes) -> Document | None:
        """Return what is stored, if it is what the same call has stored before: its answer was lost then."""
        row = await self._background(self._documents.get, *place) if change_id else None
        return row if row is not None and content_of(row).change_id == change_id else None


def _message(row: Document, kind: str, name: str) -> pb.Document:
    """Write a row as a message, without what is secret in it."""
    content = content_of(row)
    return pb.Document(
        kind=kind,
        name=name,
        version=row.version,
        updated_us=row.updated_us,
        body=content.body,
        has_secret=bool(content.sealed),
    )


def _checked(request: pb.GetDocumentRequest | pb.PutDocumentRequest | pb.DeleteDocumentRequest) -> Place:
    """Check what a document is called; what no database can have in a name is refused by the storage."""
    _check_kind(request.kind)
    if not request.name:
        raise InvalidRequest("name is empty", field="name")
    if len(request.name.encode()) > MAX_NAME_BYTES:
        raise InvalidRequest(f"name has more than {MAX_NAME_BYTES} bytes", field="name", limit=MAX_NAME_BYTES)
    return place_of(request.namespace, request.kind, request.name)


def _check_kind(kind: str) -> None:
    if not _KIND.fullmatch(kind):
        raise InvalidRequest(
            f"kind is '{kind[:80]}'; expected 1 to 64 of a-z, 0-9, '-', '_' and '.', a letter first",
            field="kind",
        )


def _check_content(request: pb.PutDocumentRequest) -> None:
    size = len(request.body) + len(request.secret)
    if size > MAX_BYTES:
        raise DocumentTooLarge(
            f"the {request.kind} '{request.name}' has {size} bytes, at most {MAX_BYTES} are kept",
            limit=MAX_BYTES,
        )
    if len(request.change_id) not in (0, CHANGE_ID_BYTES):
        raise InvalidRequest(
            f"change_id has {len(request.change_id)} bytes; expected {CHANGE_ID_BYTES}, or none",
            field="change_id",
        )


def _conflict(request: pb.PutDocumentRequest | pb.DeleteDocumentRequest) -> VersionConflict:
    seen = f"is not in version {request.version}" if request.version else "exists already"
    return VersionConflict(f"the {request.kind} '{request.name}' {seen}; read it again, then decide")
