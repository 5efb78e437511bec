"""Grants for object storage: URLs that its provider lets in because the server has signed them.

Only results are written this way. What has the name of a content is checked by the control plane when it
comes, because a provider stores anything under any name; a result may be whatever the run that it is of has
returned, and whoever reads it compares it with the checksum that its report had.

A PUT is all or nothing, and takes at most what providers take in one. Where a provider understands it, the
request says that it must not replace anything. So a result that is stored stays as it was, also while a URL
for it can still be used. Without that, it can be replaced by the agent that returned it, for some minutes.
"""

import logging
from datetime import timedelta
from typing import Final, Literal, NamedTuple

import obstore

from taskyard_api.v1 import blob_service_pb2, common_pb2
from taskyard_contract.blobs.names import is_result, name_of
from taskyard_contract.errors import StorageUnavailable
from taskyard_controlplane.blobs.objects import ObjectStore, bucket_of, object_errors
from taskyard_controlplane.transfers.interface import GRANT_SECONDS

GIB: Final = 1024**3
MIB: Final = 1024**2
GRANTED: Final = timedelta(seconds=GRANT_SECONDS)

_log = logging.getLogger(__name__)


class Puts(NamedTuple):
    """What a provider takes in one request."""

    most_bytes: int
    headers: dict[str, str]
    """What it asks for, and what forbids to replace something."""


PUTS: Final = {
    "s3": Puts(5 * GIB, {"If-None-Match": "*"}),
    "az": Puts(5_000 * MIB, {"If-None-Match": "*", "x-ms-blob-type": "BlockBlob"}),
    "gs": Puts(5 * GIB, {}),  # has such a header too, but signs it, which obstore cannot
}


class SignedObjects:
    """`Grants` of a store in a bucket."""

    def __init__(self, store: ObjectStore, endpoint: str = "") -> None:
        """Sign with what lets this process use a store, for an endpoint if others reach it by another one.

        Raises:
            ValueError: The provider has no endpoints, or not this one.
        """
        self._store = store
        self._seen_by_others = bucket_of(store.url, endpoint) if endpoint else store.bucket
        self._puts = PUTS[store.url.partition(":")[0]]
        self._refused = False

    def read(self, ref: common_pb2.BlobRef) -> blob_service_pb2.TransferGrant | None:
        """See `Grants`."""
        return self._signed("GET", name_of(ref))

    def write(self, ref: common_pb2.BlobRef) -> blob_service_pb2.TransferGrant | None:
        """See `Grants`. What is stored already goes to the control plane, which compares it."""
        name = name_of(ref)
        if not is_result(name) or ref.size > self._puts.most_bytes or self._store.size(name) is not None:
            return None
        grant = self._signed("PUT", name)
        if grant is not None:
            grant.headers.update(self._puts.headers)
            grant.confirm = True
        return grant

    def _signed(self, method: Literal["GET", "PUT"], name: str) -> blob_service_pb2.TransferGrant | None:
        """Sign a request, if what this process was given to get in can do that."""
        try:
            with object_errors(self._store.url):
                url = obstore.sign(self._seen_by_others, method, name, expires_in=GRANTED)
        except StorageUnavailable as error:
            if not self._refused:
                self._refused = True
                _log.warning("blobs go through the control plane, URLs cannot be signed: %s", error)
            return None
        self._refused = False
        return blob_service_pb2.TransferGrant(name=name, url=url, expires_in_ms=round(GRANT_SECONDS * 1000))
