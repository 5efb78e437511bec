"""A client that stores blobs, all at a time: as from elsewhere, where it is let in to, or in a directory.

`python -m benchmarks.uploader ADDRESS COUNT BYTES [DIRECTORY]`: it says when it is ready, begins at SIGUSR1,
and says when all are stored, and in how many seconds. It gives way to everything else on this machine:
whoever uploads is not on the server's.
"""

import hashlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import grpc

from taskyard_api.v1 import blob_service_pb2 as pb
from taskyard_api.v1 import blob_service_pb2_grpc, common_pb2
from taskyard_contract.blobs.directory import BlobDirectory
from taskyard_contract.blobs.names import sha256_name
from taskyard_contract.errors import Overloaded
from taskyard_contract.payload_limits import PART_BYTES
from taskyard_contract.transport.direct_store import MemorySource, Storing
from taskyard_contract.transport.http_requests import Busy, where_of
from taskyard_contract.transport.rpc_errors import from_rpc_error

READY: Final = "uploader ready"
STORED: Final = "uploader stored"
_AGAIN_SECONDS: Final = 0.2
_NICE: Final = 10


class Content:
    """Bytes that no other blob has, made anew each time they are read."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._block = os.urandom(PART_BYTES)
        digest = hashlib.sha256()
        for part in self._parts():
            digest.update(part)
        self._ref = common_pb2.BlobRef(digest=digest.digest(), size=size)

    def store(self, directory: BlobDirectory) -> None:
        """Write it where the control plane keeps it, as programs do that see the directory."""
        directory.add(sha256_name(self._ref.digest), self._parts(), self._size)

    def _parts(self) -> Iterator[bytes]:
        for start in range(0, self._size, PART_BYTES):
            yield self._block[: self._size - start]

    def put(self, grant: pb.TransferGrant, address: str) -> None:
        """Store it past the control plane."""
        source = MemorySource(list(self._parts()))
        Storing(self._ref, source).run(where_of(grant, address), is_checked=not grant.confirm)

    def asked(self) -> pb.GrantTransfersRequest:
        """Return what asks for a way past the control plane."""
        return pb.GrantTransfersRequest(writes=[self._ref])

    def messages(self) -> Iterator[pb.UploadBlobRequest]:
        """Yield what an upload sends."""
        for number, part in enumerate(self._parts()):
            yield pb.UploadBlobRequest(blob=None if number else self._ref, part=part)


def upload(address: str, content: Content) -> None:
    """Store a blob, over a connection of its own; again when the server has too many at a time."""
    with grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub: Any = blob_service_pb2_grpc.BlobServiceStub(channel)
        while True:
            try:
                granted = stub.GrantTransfers(content.asked()).writes
                if granted:
                    content.put(granted[0], address)
                else:
                    stub.UploadBlob(content.messages())
            except grpc.RpcError as error:
                if not isinstance(from_rpc_error(error), Overloaded):
                    raise
                time.sleep(_AGAIN_SECONDS)
            except Busy:
                time.sleep(_AGAIN_SECONDS)
            else:
                return


def main(address: str, count: int, size: int, directory: str = "") -> None:
    """Store when told to: in a directory, if there is one, else where the control plane says."""
    os.nice(_NICE)
    begin = threading.Event()
    signal.signal(signal.SIGUSR1, lambda *_: begin.set())
    contents = [Content(size) for _ in range(count)]
    print(READY, flush=True)
    begin.wait()
    began = time.perf_counter()
    with ThreadPoolExecutor(count) as pool:
        if directory:
            list(pool.map(lambda content: content.store(BlobDirectory(Path(directory))), contents))
        else:
            list(pool.map(lambda content: upload(address, content), contents))
    print(f"{STORED} {time.perf_counter() - began:.3f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
