"""Artifacts and assets as plain documents, for ``--json``, and in words. Pure."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from taskyard.cli.views.documents import moment

if TYPE_CHECKING:
    from taskyard._engine.assets.records import AssetRecord, Materialization
    from taskyard.client.schemas.objects import Artifact


def microseconds(at: datetime) -> int:
    """Return a time as the control plane tells times."""
    return round(at.timestamp() * 1_000_000)


def artifact_document(artifact: "Artifact") -> dict[str, Any]:
    """Return an artifact."""
    said = artifact.model_dump(mode="json")
    said["metadata"] = said.pop("metadata_")
    said["created"], said["updated"] = (
        moment(microseconds(each)) for each in (artifact.created, artifact.updated)
    )
    return said


def asset_document(record: "AssetRecord") -> dict[str, Any]:
    """Return what is recorded of an asset, the newest materialization last."""
    properties = record.asset.properties
    return {
        "key": record.asset.key,
        "properties": None if properties is None else properties.model_dump(mode="json"),
        "count": record.count,
        "materializations": [_made(each) for each in record.materializations],
    }


def _made(made: "Materialization") -> dict[str, Any]:
    from taskyard._engine.assets.records import entry_as_json

    said = entry_as_json(made)
    del said["epoch"]
    return {**said, "at": moment(microseconds(made.at))}


def outcome(made: "Materialization | None") -> str:
    """Say how a run that was to make an asset ended."""
    if made is None:
        return "needed"
    return "succeeded" if made.succeeded else f"failed ({made.state})" if made.state != "Failed" else "failed"
