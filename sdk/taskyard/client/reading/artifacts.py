"""Artifacts as documents of the control plane: one for each, and one for each key that names its versions.

Invariant: of one key the newest `MOST_VERSIONS` are kept. The document of a key is written after that of its
version, so whoever finds an id there finds the artifact, unless it was deleted since.
"""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from taskyard._network.server.kept_documents import KeptDocuments, not_understood
from taskyard.client.schemas.filters import ArtifactFilter, Operator
from taskyard.client.schemas.objects import Artifact
from taskyard.client.schemas.sorting import ArtifactSort
from taskyard.exceptions import ObjectNotFound
from taskyard_contract.clock import wall_time
from taskyard_contract.errors import DocumentTooLarge
from taskyard_contract.id_factory import new_id

if TYPE_CHECKING:
    from taskyard_api.v1.document_service_pb2 import Document

ARTIFACT: Final = "artifact"
KEY: Final = "artifact-key"
MOST_VERSIONS: Final = 100
MOST_BYTES: Final = 512 * 1024
_MOST_RETURNED: Final = 200
"""What is returned where nobody says how many, as of runs."""
_WRITTEN: Final = ("key", "type", "description", "data", "metadata_", "flow_run_id", "task_run_id", "created")


class ArtifactStore:
    """The artifacts of a server."""

    def __init__(self, kept: Callable[[str], KeptDocuments]) -> None:
        """Read and write documents.

        Args:
            kept: Returns those of a kind.
        """
        self._artifacts = kept(ARTIFACT)
        self._keys = kept(KEY)

    def create(self, said: dict[str, Any]) -> Artifact:
        """Store an artifact, and return it; it is durable then.

        Args:
            said: Its fields, without those that this decides.

        Raises:
            DocumentTooLarge: It has more than 512 KiB.
        """
        artifact_id, now = UUID(bytes=new_id()), wall_time()
        artifact = Artifact.model_validate({**said, "id": artifact_id, "created": now, "updated": now})
        body = _body(artifact)
        self._artifacts.change(str(artifact_id), lambda _: (body, b""))
        if artifact.key:
            self._add_version(artifact.key, str(artifact_id))
        return self.read(artifact_id) or artifact  # with the time of the control plane

    def _add_version(self, key: str, artifact_id: str) -> None:
        dropped: list[str] = []

        def decide(found: "Document | None") -> tuple[bytes, bytes] | None:
            versions = _versions(found)
            if artifact_id in versions:
                return None
            versions.append(artifact_id)
            dropped[:] = versions[:-MOST_VERSIONS]
            return json.dumps(versions[-MOST_VERSIONS:]).encode(), b""

        self._keys.change(key, decide)
        for each in dropped:
            self._artifacts.delete(each)

    def read(self, artifact_id: UUID) -> Artifact | None:
        """Return an artifact; None when there is none."""
        found = self._artifacts.get(str(artifact_id))
        return None if found is None else artifact_of(found)

    def versions(self, key: str) -> Iterator[Artifact]:
        """Yield the artifacts of a key, the newest first."""
        for each in reversed(_versions(self._keys.get(key) if key else None)):
            found = self._artifacts.get(each)
            if found is not None:  # else it was deleted in between
                yield artifact_of(found)

    def all(self) -> Iterator[Artifact]:
        """Yield all artifacts, the oldest first."""
        return map(artifact_of, self._artifacts.all())

    def newest_by_key(self) -> Iterator[tuple[Artifact, int]]:
        """Yield the newest artifact of each key, and how many versions it has, in the order of the keys."""
        for document in self._keys.all():
            count = len(_versions(document))
            newest = next(self.versions(document.name), None)
            if newest is not None:
                yield newest, count

    def update(self, artifact_id: UUID, said: dict[str, Any]) -> Artifact:
        """Change some fields of an artifact, and return it.

        Raises:
            ObjectNotFound: There is none.
            DocumentTooLarge: It has more than 512 KiB then.
        """

        def decide(found: "Document | None") -> tuple[bytes, bytes]:
            if found is None:
                raise ObjectNotFound(f"artifact {artifact_id} does not exist; it may have been deleted")
            return _body(artifact_of(found).model_copy(update=said)), b""

        self._artifacts.change(str(artifact_id), decide)
        return self.read(artifact_id) or _gone(artifact_id)

    def delete(self, artifact_id: UUID) -> bool:
        """Delete an artifact; returns whether there was one."""
        found = self._artifacts.get(str(artifact_id))
        if found is None:
            return False
        key = artifact_of(found).key
        if key:
            self._drop_version(key, str(artifact_id))
        return self._artifacts.delete(str(artifact_id))

    def _drop_version(self, key: str, artifact_id: str) -> None:
        def decide(found: "Document | None") -> tuple[bytes, bytes] | None:
            versions = _versions(found)
            if artifact_id not in versions:
                return None
            return json.dumps([each for each in versions if each != artifact_id]).encode(), b""

        self._keys.change(key, decide)
        self._keys.delete(key, only_if=lambda found: not _versions(found))  # else others have written one

    def find(
        self, wanted: ArtifactFilter | None, sort: ArtifactSort | None, limit: int | None, offset: int
    ) -> list[Artifact]:
        """Return the artifacts that fit; see `SyncTaskyardClient.read_artifacts`.

        Raises:
            ValueError: The limit, or the offset, is less than 0.
        """
        most = _MOST_RETURNED if limit is None else limit
        if most < 0 or offset < 0:
            raise ValueError(f"limit and offset must not be less than 0, got {limit!r} and {offset!r}")
        fitting = [each for each in self._candidates(wanted) if wanted is None or fits(each, wanted)]
        return _sorted(fitting, sort or ArtifactSort.ID_DESC)[offset : offset + most]

    def _candidates(self, wanted: ArtifactFilter | None) -> Iterator[Artifact]:
        """Yield those among which the wanted ones are: of some ids, or keys, or all of them."""
        if wanted is not None and wanted.operator is Operator.and_:
            if wanted.id is not None and wanted.id.any_ is not None:
                found = (self.read(each) for each in dict.fromkeys(wanted.id.any_))
                return (each for each in found if each is not None)
            if wanted.key is not None and wanted.key.any_ is not None:
                return (each for key in dict.fromkeys(wanted.key.any_) for each in self.versions(key))
        return self.all()


def fits(artifact: Artifact, wanted: ArtifactFilter) -> bool:
    """Say whether an artifact is wanted."""
    answers: list[bool] = []
    for name in ("id", "key", "type", "flow_run_id", "task_run_id"):
        part, value = getattr(wanted, name), getattr(artifact, name)
        if part is not None:
            answers += [_says(field, said, value) for field, said in part if said is not None]
    return (all if wanted.operator is Operator.and_ else any)(answers) if answers else True


def _says(field: str, said: Any, value: Any) -> bool:
    if field == "like_":
        return value is not None and said.lower() in value.lower()
    if field == "exists_":
        return (value is not None) is said
    return (value not in said) if field == "not_any_" else value in said


def _sorted(found: list[Artifact], sort: ArtifactSort) -> list[Artifact]:
    what, _, order = sort.value.lower().rpartition("_")
    found.sort(key=lambda each: (getattr(each, what) or "") if what == "key" else getattr(each, what))
    return found[::-1] if order == "desc" else found


def _gone(artifact_id: UUID) -> Artifact:
    raise ObjectNotFound(f"artifact {artifact_id} was deleted while it was changed")


def _versions(document: "Document | None") -> list[str]:
    if document is None:
        return []
    try:
        return [str(UUID(each)) for each in json.loads(document.body)]
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise not_understood(KEY, document.name) from None


def _body(artifact: Artifact) -> bytes:
    body = json.dumps(artifact.model_dump(mode="json", include=set(_WRITTEN))).encode()
    if len(body) > MOST_BYTES:
        named = f"the artifact '{artifact.key}'" if artifact.key else "the artifact"
        raise DocumentTooLarge(
            f"{named} has {len(body)} bytes, at most {MOST_BYTES} are kept; write it into a file, and leave a"
            " link to that with create_link_artifact"
        )
    return body


def artifact_of(document: "Document") -> Artifact:
    """Return the artifact that a document is.

    Raises:
        TaskyardError: It is written otherwise, by a program of another kind.
    """
    try:
        said = json.loads(document.body)
        updated = datetime.fromtimestamp(document.updated_us / 1_000_000, UTC)
        return Artifact.model_validate({**said, "id": document.name, "updated": updated})
    except (ValueError, TypeError, RecursionError):
        raise not_understood(ARTIFACT, document.name) from None
