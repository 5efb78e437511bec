"""DocumentService over a dictionary, for tests of commands."""

from dataclasses import dataclass, field
from typing import Any

from taskyard_api.v1 import document_service_pb2 as pb
from taskyard_api.v1.document_service_pb2_grpc import DocumentServiceServicer
from taskyard_contract.errors import DocumentNotFound, VersionConflict
from taskyard_contract.transport.rpc_errors import to_status

PAGE = 3


@dataclass(kw_only=True)  # those of services come first
class FakeDocuments(DocumentServiceServicer):
    """Documents by kind and name."""

    documents: dict[tuple[str, str], pb.Document] = field(default_factory=dict)
    others_change: int = 0
    """How many changes somebody else makes just before one that is asked for."""

    def keep(self, kind: str, name: str, body: bytes, **fields: Any) -> None:
        """Have a document."""
        fields.setdefault("version", 1)
        fields.setdefault("updated_us", 1_767_225_600_000_000)
        self.documents[kind, name] = pb.Document(kind=kind, name=name, body=body, **fields)

    def GetDocument(self, request: pb.GetDocumentRequest, context: Any) -> pb.GetDocumentResponse:  # noqa: N802
        found = self.documents.get((request.kind, request.name))
        if found is None:
            context.abort_with_status(to_status(DocumentNotFound("there is none")))
        return pb.GetDocumentResponse(document=found)

    def PutDocument(self, request: pb.PutDocumentRequest, context: Any) -> pb.PutDocumentResponse:  # noqa: N802
        self._check(request.kind, request.name, request.version, context)
        version = request.version + 1
        self.keep(request.kind, request.name, request.body, version=version, has_secret=bool(request.secret))
        return pb.PutDocumentResponse(version=version)

    def ListDocuments(  # noqa: N802
        self, request: pb.ListDocumentsRequest, context: Any
    ) -> pb.ListDocumentsResponse:
        start = int(request.page_token or 0)
        end = start + PAGE
        keys = [key for key in sorted(self.documents) if key[0] == request.kind]
        found = [self.documents[key] for key in keys if key[1].startswith(request.prefix)]
        return pb.ListDocumentsResponse(
            documents=found[start:end], next_page_token=str(end) if end < len(found) else ""
        )

    def DeleteDocument(  # noqa: N802
        self, request: pb.DeleteDocumentRequest, context: Any
    ) -> pb.DeleteDocumentResponse:
        self._check(request.kind, request.name, request.version, context)
        self.documents.pop((request.kind, request.name), None)
        return pb.DeleteDocumentResponse()

    def _check(self, kind: str, name: str, version: int, context: Any) -> None:
        if self.others_change:
            self.others_change -= 1
            self.keep(kind, name, b'{"value": "of others", "tags": []}', version=version + 1)
        found = self.documents.get((kind, name))
        if (found.version if found is not None else 0) != version:
            context.abort_with_status(to_status(VersionConflict("it has another version")))
