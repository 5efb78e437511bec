"""The store of blobs: bytes that are too large for the database, which only keeps their names.

Importing it is cheap; what object storage needs comes with the first store of that kind.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taskyard_controlplane.blobs.interface import BlobStore
    from taskyard_controlplane.blobs.places import Place


def create_blob_store(place: "Place") -> "BlobStore":
    """Make the store at a place; `open` it next.

    Raises:
        ValueError: Object storage does not understand its URL, or what the environment says of it.
    """
    from taskyard_controlplane.blobs.places import Kind

    if place.path is not None:
        from taskyard_controlplane.blobs.directory import DirectoryStore

        return DirectoryStore(place.path)
    if place.kind is Kind.MEMORY:
        from taskyard_controlplane.blobs.memory import MemoryStore

        return MemoryStore()
    from taskyard_controlplane.blobs.objects import ObjectStore

    return ObjectStore(place.url)
