"""The link between the agent's main process and a worker: length-prefixed frames on a socket pair.

Invariant: the agent never decodes what is inside a chunk's body or a report's columns; everything it must
know about them is in the fixed headers defined here.
"""

import struct
from typing import Final

from taskyard_api.v1 import common_pb2
from taskyard_contract.blobs.names import name_of

READ_BYTES: Final = 64 * 1024
"""One read. Larger buffers make malloc map and unmap memory at each call."""

# Kinds of frames to the worker.
SETTINGS: Final = 1
TEMPLATE: Final = 2
CHUNK: Final = 3
FORGET: Final = 4
CHUNK_IN_FILE: Final = 5
"""As a chunk, but with the entry of a blob instead of the body that it holds."""
WORLD: Final = 6
"""The world that the worker is in from the next chunk on: length of the serialised `World`, which follows,
and the file with its facts."""
NO_WORLD: Final = 7
"""The same where workers cannot be as their program: why, in words."""
LANE: Final = 12
"""The worker is a lane from here on: it executes coroutines, all that it is given together."""
# Kinds of frames from the worker.
READY: Final = 16
REPORT: Final = 17
LOGS: Final = 18
BLOCKED: Final = 19
UNBLOCKED: Final = 20
UNSTORED: Final = 21
PROGRESS: Final = 22
"""A serialised RunProgress."""
OUTPUT: Final = 23
"""A serialised OutputBatch."""
STOPPED: Final = 28
"""A run of a lane has ended because it was to be cancelled."""
AWAITING: Final = 29
"""How many runs of a lane wait for other runs."""

_PREFIX: Final = struct.Struct("<IB")

LINK_VERSION: Final = 4
"""Of these frames. A program may bring a worker of another release: the two have to find out at once."""
READY_BODY: Final = struct.Struct("<IH16s")
"""The worker's process id, its version of the link, and what its marks in the pipes of output begin with.
What has another size is of another release."""
SETTINGS_BODY: Final = struct.Struct("<QQ")
"""Largest inline payload, largest payload at all; the directory that is the control plane's store follows, if
it is seen here."""
TEMPLATE_HEAD: Final = struct.Struct("<I")
"""The agent's index of the template; a serialised TemplateDefinition follows."""
WORLD_HEAD: Final = struct.Struct("<H")
"""Length of the serialised world."""
CHUNK_HEAD: Final = struct.Struct("<QIQIII")
"""Number, template, first epoch, first and end position, length of the ids; ids and body follow."""
REPORT_HEAD: Final = struct.Struct("<QIIQH")
"""Number, first position, count, busy microseconds, count of blobs to be sent; these and columns follow."""
UNSTORED_HEAD: Final = struct.Struct("<QIQ")
"""Number and position of a run whose result the disk had no room for, and its size; the reason follows."""
BLOB_ENTRY: Final = struct.Struct("<128sQQ")
"""Name, size and checksum of a blob: of what the worker has written to the agent's directory, to be sent on,
or of what it is to read; the checksum is 0 where its name has a hash."""
STOPPED_BODY: Final = struct.Struct("<QI")
"""Number and position of a run; of lanes, also that of the run which is blocked or goes on."""
AWAITING_BODY: Final = struct.Struct("<I")
"""How many."""

# On the control socket, one message each.
CONTROL_BYTES: Final = 64
"""The longest of them, and more."""
LANE_CANCEL: Final = struct.Struct("<QI")
"""To a lane: number and position of a run that is to end."""
LANE_LOOK: Final = b"?"
"""To a lane: its loop does not go round; what keeps it is to be named."""
REVOKE: Final = struct.Struct("<Q")
"""Number of the chunk whose unstarted runs are taken back; 0: flush what has ended."""
REVOKED: Final = struct.Struct("<QI")
"""Number of the chunk, and the position from which on nothing of it will be executed."""
NOTHING_REVOKED: Final = 0xFFFFFFFF
"""Stands for that position when all of it has begun: behind every run that a chunk could have."""


def entry(blob: common_pb2.BlobRef) -> bytes:
    """Write which blob is meant."""
    return BLOB_ENTRY.pack(name_of(blob).encode(), blob.size, blob.checksum)


def blob_of(data: bytes) -> common_pb2.BlobRef:
    """Read which blob is meant; the opposite of `entry`."""
    name, size, checksum = BLOB_ENTRY.unpack(data)
    return common_pb2.BlobRef(name=name.rstrip(b"\0").decode(), size=size, checksum=checksum)


def pack(kind: int, *parts: bytes) -> bytes:
    """Return a frame whose body is all of `parts`."""
    body = b"".join(parts)
    return _PREFIX.pack(len(body), kind) + body


class FrameReader:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        """Start at the beginning of a frame."""
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Take what was read; returns the frames it completes as (kind, body)."""
        buffer = self._buffer
        if buffer:
            buffer += data
            # Nothing is copied until the first frame is complete.
            if len(buffer) < _PREFIX.size or len(buffer) < _PREFIX.size + _PREFIX.unpack_from(buffer)[0]:
                return []
            data = bytes(buffer)
            buffer.clear()
        frames: list[tuple[int, bytes]] = []
        start, end, head = 0, len(data), _PREFIX.size
        while start + head <= end:
            length, kind = _PREFIX.unpack_from(data, start)
            if start + head + length > end:
                break
            start += head
            frames.append((kind, data[start : start + length]))
            start += length
        if start < end:
            buffer += data[start:]
        return frames
