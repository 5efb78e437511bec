"""Grants for the data process: it lets in whom the control plane has signed a path for.

Unlike a provider of object storage it compares what comes with the name, so contents may be written this way
too, and nobody has to be told afterwards: what was answered with a success is stored as by the control plane.
"""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from taskyard_api.v1 import blob_service_pb2, common_pb2
from taskyard_contract.blobs.names import name_of
from taskyard_controlplane.data_process.binding import bind
from taskyard_controlplane.data_process.keeper import DataKeeper
from taskyard_controlplane.data_process.tickets import KEY_BYTES, Seal
from taskyard_controlplane.transfers.interface import GRANT_SECONDS

WORTH_WAITING_BYTES: Final = 32 * 1024 * 1024
"""For blobs of this size one waits until the data process has started; smaller ones take less time."""
START_SECONDS: Final = 2.0


class DataGrants:
    """`Grants` of the data process."""

    def __init__(self, keeper: DataKeeper, seal: Seal) -> None:
        """Sign for the process that `keeper` keeps, which knows the key of `seal`."""
        self.keeper = keeper
        self._seal = seal

    def read(self, ref: common_pb2.BlobRef) -> blob_service_pb2.TransferGrant | None:
        """See `Grants`."""
        return self._granted("GET", ref)

    def write(self, ref: common_pb2.BlobRef) -> blob_service_pb2.TransferGrant | None:
        """See `Grants`."""
        return self._granted("PUT", ref)

    def _granted(self, method: str, ref: common_pb2.BlobRef) -> blob_service_pb2.TransferGrant | None:
        if not self.keeper.is_ready(START_SECONDS if ref.size >= WORTH_WAITING_BYTES else 0.0):
            return None
        name = name_of(ref)
        return blob_service_pb2.TransferGrant(
            name=name,
            url=self._seal.path(method, name, ref.size, ref.checksum, GRANT_SECONDS),
            port=self.keeper.port,
            expires_in_ms=round(GRANT_SECONDS * 1000),
        )


class DataPort:
    """A port that is bound for the data process of a store that is opened later."""

    def __init__(self, listen: str) -> None:
        """Bind ``HOST:PORT``.

        Raises:
            ListenFailed: It cannot be bound.
        """
        self._listener = bind(listen)

    @contextmanager
    def grants(self, directory: Path) -> Iterator[DataGrants]:
        """Keep a data process for the blobs of a directory, and let peers in."""
        key = secrets.token_bytes(KEY_BYTES)
        with DataKeeper(self._listener, directory, key) as keeper:
            yield DataGrants(keeper, Seal(key, time.monotonic))

    @property
    def address(self) -> str:
        """What was bound, ``HOST:PORT``."""
        host, port = self._listener.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def close(self) -> None:
        """Give the port up."""
        self._listener.close()
