"""What clients ask about artifacts."""

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

from taskyard._network.server.kept_documents import KeptDocuments
from taskyard.client.orchestration.refusals import refuse
from taskyard.client.reading.artifacts import ArtifactStore
from taskyard.client.schemas.filters import ArtifactFilter
from taskyard.client.schemas.objects import Artifact
from taskyard.client.schemas.sorting import ArtifactSort
from taskyard.exceptions import ObjectNotFound

if TYPE_CHECKING:
    from taskyard.client.reading.connection import Connection


class ArtifactCalls:
    """Of the client that blocks."""

    _connection: "Connection"

    def artifacts(self) -> ArtifactStore:
        """Return what reads and writes artifacts; for `taskyard.artifacts`."""
        calls = self._connection.calls()
        return ArtifactStore(lambda kind: KeptDocuments(calls, kind))

    def read_artifacts(
        self,
        *,
        artifact_filter: ArtifactFilter | None = None,
        flow_run_filter: None = None,
        task_run_filter: None = None,
        sort: ArtifactSort | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[Artifact]:
        """Read the artifacts that fit. Ids and keys are looked up; for anything else all are read.

        Args:
            artifact_filter: Which.
            flow_run_filter: Refused: `artifact_filter` has the ids of runs.
            task_run_filter: Refused, too.
            sort: In which order; the newest first by default.
            limit: The most that are returned; 200 by default.
            offset: How many of the first are left out.

        Raises:
            NotSupported: There is a filter of runs.
        """
        refuse(flow_run_filter=flow_run_filter, task_run_filter=task_run_filter)
        return self.artifacts().find(artifact_filter, sort, limit, offset)

    def delete_artifact(self, artifact_id: UUID) -> None:
        """Delete an artifact.

        Raises:
            ObjectNotFound: There is none.
        """
        if not self.artifacts().delete(artifact_id):
            raise ObjectNotFound(f"artifact {artifact_id} does not exist; it may have been deleted")


class AsyncArtifactCalls:
    """Of the client for event loops."""

    _blocking: ArtifactCalls

    async def read_artifacts(
        self,
        *,
        artifact_filter: ArtifactFilter | None = None,
        flow_run_filter: None = None,
        task_run_filter: None = None,
        sort: ArtifactSort | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[Artifact]:
        """Read the artifacts that fit."""
        return await asyncio.to_thread(
            self._blocking.read_artifacts,
            artifact_filter=artifact_filter,
            flow_run_filter=flow_run_filter,
            task_run_filter=task_run_filter,
            sort=sort,
            limit=limit,
            offset=offset,
        )

    async def delete_artifact(self, artifact_id: UUID) -> None:
        """Delete an artifact."""
        await asyncio.to_thread(self._blocking.delete_artifact, artifact_id)
