"""What is recorded of assets: a document for each, with the last times that it was materialized.

Invariant: of a run there is one entry at most in the document of an asset, that of its latest attempt; and a
document stays below what the control plane keeps, because old entries give way.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from taskyard._durable_names import public
from taskyard._engine.assets.asset import Asset, AssetProperties
from taskyard._network.server.kept_documents import KeptDocuments, kept_documents, not_understood

if TYPE_CHECKING:
    from taskyard_api.v1.document_service_pb2 import Document

KIND: Final = "asset"
"""Of the documents that assets are."""
MOST_KEPT: Final = 100
_MOST_BYTES: Final = 256 * 1024


@public("taskyard.assets")
@dataclass(frozen=True, kw_only=True)
class Materialization:
    """One time that a task run made an asset, or failed to."""

    run_id: str
    """Of the task run."""
    flow_run_id: str | None = None
    run_name: str = ""
    task: str = ""
    """Name of its task."""
    succeeded: bool
    at: datetime
    """When the run's function had ended, by the clock of its worker."""
    state: str = ""
    """Name of the state that the run ended in, for people."""
    materialized_by: str | None = None
    """The tool that did it, as `materialize` was told."""
    upstream: list[str] = field(default_factory=list)
    """Keys of the assets that it was made of; of very many the first ones, as many as 64 KiB hold."""
    upstream_left_out: int = 0
    """How many more there are."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """What `add_asset_metadata` has added."""
    epoch: int = 0
    """Tells the attempts of one run apart."""


@public("taskyard.assets")
@dataclass(frozen=True, kw_only=True)
class AssetRecord:
    """What is recorded of an asset."""

    asset: Asset
    count: int = 0
    """How often it was materialized, failures included."""
    materializations: list[Materialization] = field(default_factory=list)
    """The last 100 of these, or fewer large ones; the newest is the last one."""
    changed: datetime | None = None
    """When this was written."""

    @property
    def latest(self) -> Materialization | None:
        """The newest one; None for an asset that was only ever needed."""
        return self.materializations[-1] if self.materializations else None


def note(asset: Asset, made: Materialization) -> None:
    """Record that a run has materialized an asset, once: the same run again replaces what it said before."""

    def decide(found: "Document | None") -> tuple[bytes, bytes] | None:
        old = AssetRecord(asset=asset) if found is None else record_of(found)
        before = next((each for each in old.materializations if each.run_id == made.run_id), None)
        if before is not None and before.epoch >= made.epoch:
            return None  # said already; or by an attempt that came after this one
        others = [each for each in old.materializations if each is not before]
        new = AssetRecord(
            asset=asset if asset.properties is not None else old.asset,
            count=old.count + (before is None),
            materializations=[*others, made],
        )
        return _written(new), b""

    kept_documents(KIND).change(asset.key, decide)


def note_needed(asset: Asset) -> None:
    """Record that there is an asset which runs need, unless more is known of it."""

    def decide(found: "Document | None") -> tuple[bytes, bytes] | None:
        return None if found is not None else (_written(AssetRecord(asset=asset)), b"")

    kept_documents(KIND).change(asset.key, decide)


def read(key: str) -> AssetRecord | None:
    """Read what is recorded of an asset; None for nothing."""
    if not key or len(key.encode(errors="surrogatepass")) > 512:
        return None  # there is none of such a name
    found = kept_documents(KIND).get(key)
    return None if found is None else record_of(found)


def read_all(prefix: str = "", documents: KeptDocuments | None = None) -> Iterator[AssetRecord]:
    """Yield what is recorded of assets, in the order of their keys."""
    return map(record_of, (documents or kept_documents(KIND)).all(prefix))


def record_of(document: "Document") -> AssetRecord:
    """Return what a document says.

    Raises:
        TaskyardError: It is written otherwise, by a program of another kind.
    """
    try:
        said = json.loads(document.body)
        properties = said["properties"]
        known = None if properties is None else AssetProperties.model_validate(properties)
        return AssetRecord(
            asset=Asset(document.name, properties=known),
            count=int(said["count"]),
            materializations=[_entry(each) for each in said["materializations"]],
            changed=datetime.fromtimestamp(document.updated_us / 1_000_000, UTC),
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        raise not_understood(KIND, document.name) from None


def _entry(said: dict[str, Any]) -> Materialization:
    known = {name: said[name] for name in Materialization.__dataclass_fields__ if name in said}
    return Materialization(**{**known, "at": datetime.fromisoformat(said["at"])})


def entry_as_json(made: Materialization) -> dict[str, Any]:
    """Return an entry as JSON has it."""
    return {**asdict(made), "at": made.at.isoformat()}


def _written(record: AssetRecord) -> bytes:
    """Write a record, and leave out the oldest entries if they are too many or too large."""
    properties = record.asset.properties
    entries = [json.dumps(entry_as_json(each)) for each in record.materializations[-MOST_KEPT:]]
    while len(entries) > 1 and sum(map(len, entries)) > _MOST_BYTES:
        del entries[0]
    said = {
        "properties": None if properties is None else properties.model_dump(mode="json"),
        "count": record.count,
    }
    return f'{json.dumps(said)[:-1]}, "materializations": [{", ".join(entries)}]}}'.encode()
