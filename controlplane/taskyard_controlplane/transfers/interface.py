"""What gives grants: who serves blobs by HTTP, and lets others in for one blob and a while."""

from typing import Final, Protocol

from taskyard_api.v1 import blob_service_pb2, common_pb2

GRANT_SECONDS: Final = 300.0
"""For so long a transfer may begin: half of the time for which whoever was told of a blob may refer to it."""


class Grants(Protocol):
    """One way past the control plane. Blocks: called in threads, of several at a time. Names were checked.

    Invariant: what a grant lets somebody store under the name of a content is what the name stands for; and
    nothing is stored that another result of the same name would be lost by.
    """

    def read(self, ref: common_pb2.BlobRef) -> blob_service_pb2.TransferGrant | None:
        """Let somebody read a blob, whether or not it is stored; None: not this way.

        Raises:
            StorageUnavailable: Nobody can say.
        """
        ...

    def write(self, ref: common_pb2.BlobRef) -> blob_service_pb2.TransferGrant | None:
        """Let somebody store a blob; None: not this way.

        Raises:
            StorageUnavailable: Nobody can say.
        """
        ...
