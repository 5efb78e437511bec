"""Calls about documents: variables, blocks, and what their programs make of them."""

from collections.abc import Iterator
from os import urandom
from typing import TYPE_CHECKING, Final

from taskyard._network.server.calling import Calling
from taskyard_contract.errors import DocumentNotFound

if TYPE_CHECKING:
    from taskyard_api.v1.document_service_pb2 import Document
    from taskyard_api.v1.document_service_pb2_grpc import DocumentServiceAsyncStub

NEW: Final = 0
"""The version of a document that must not exist yet."""
_CHANGE_ID_BYTES: Final = 16
_PAGE: Final = 1_000


class DocumentCalls(Calling):
    """Calls of `DocumentService`."""

    def get_document(self, kind: str, name: str, *, include_secret: bool = False) -> "Document | None":
        """Read a document; None when there is none.

        Args:
            kind: What it is.
            name: Its name.
            include_secret: Whether what is secret in it is wanted as well.

        Raises:
            SecretUnreadable: It is, and the server has not the key to it.
        """
        from taskyard_api.v1 import document_service_pb2 as pb  # most programs have no documents

        request = pb.GetDocumentRequest(kind=kind, name=name, include_secret=include_secret)
        try:
            return self._call(lambda: self._documents().GetDocument(request, timeout=self._seconds)).document
        except DocumentNotFound:
            return None

    def put_document(self, kind: str, name: str, version: int, body: bytes, secret: bytes = b"") -> None:
        """Store a document if the one that is there has this version, `NEW` for none.

        Raises:
            VersionConflict: It has another version.
            DocumentTooLarge: It is larger than the server takes.
            SecretUnreadable: The server has no key for what is secret.
        """
        from taskyard_api.v1 import document_service_pb2 as pb  # as above

        request = pb.PutDocumentRequest(
            kind=kind,
            name=name,
            version=version,
            body=body,
            secret=secret,
            change_id=urandom(_CHANGE_ID_BYTES),
        )
        self._call(lambda: self._documents().PutDocument(request, timeout=self._seconds))

    def documents(self, kind: str, prefix: str = "") -> "Iterator[Document]":
        """Yield the documents of a kind whose names begin with a prefix, in the order of their names."""
        from taskyard_api.v1 import document_service_pb2 as pb  # as above

        request = pb.ListDocumentsRequest(kind=kind, prefix=prefix, page_size=_PAGE)
        while True:
            page = self._call(lambda: self._documents().ListDocuments(request, timeout=self._seconds))
            yield from page.documents
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def delete_document(self, kind: str, name: str, version: int) -> None:
        """Delete a document if it has this version; one that is not there is as good as deleted.

        Raises:
            VersionConflict: It has another version.
        """
        from taskyard_api.v1 import document_service_pb2 as pb  # as above

        request = pb.DeleteDocumentRequest(kind=kind, name=name, version=version)
        self._call(lambda: self._documents().DeleteDocument(request, timeout=self._seconds))

    def _documents(self) -> "DocumentServiceAsyncStub":
        from typing import cast

        from taskyard_api.v1.document_service_pb2_grpc import DocumentServiceStub

        return cast("DocumentServiceAsyncStub", DocumentServiceStub(self._open()))
