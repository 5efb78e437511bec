"""What peers are told when they connect: leases, sizes, and which version of the protocol is spoken."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from taskyard_api.v1 import common_pb2
from taskyard_contract.errors import UnsupportedProtocol
from taskyard_contract.payload_limits import MAX_PAGE_SIZE, MAX_WAIT_SECONDS
from taskyard_contract.versions import PROTOCOL_MAX, PROTOCOL_MIN, negotiate
from taskyard_controlplane.domain.memory import DEFAULT_MEMORY, MemoryLimits


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """How long silence is tolerated, in seconds; dictated to clients and agents when they connect."""

    agent_lease: float = 30.0
    agent_heartbeat: float = 5.0
    session_lease: float = 30.0
    session_heartbeat: float = 5.0


def nowhere() -> None:
    """Say that no peer sees a directory of blobs."""


class Terms(NamedTuple):
    """What a server demands of its peers, and dictates in its welcome."""

    times: LeaseTimes
    max_inline_bytes: int
    """Largest payload inside another message."""
    max_payload_bytes: int
    """Largest payload at all."""
    memory: MemoryLimits = DEFAULT_MEMORY
    """How much is read before what was read is durable, and how much a run may be given."""
    max_page_size: int = MAX_PAGE_SIZE
    """Most items in one page of a listing."""
    max_wait_seconds: float = MAX_WAIT_SECONDS
    """How long one call waits for something to happen."""
    blob_directory: Callable[[], common_pb2.BlobDirectory | None] = nowhere
    """Returns the store of blobs, if it is a directory that peers may see. It is opened later than terms are
    made: only by the owner."""


def milliseconds(seconds: float) -> int:
    """Return a time as messages carry it."""
    return round(seconds * 1000)


def agreed_protocol(peer_min: int, peer_max: int, who: str) -> int:
    """Return the newest version that both sides speak.

    Raises:
        UnsupportedProtocol: There is none.
    """
    protocol = negotiate(peer_min, peer_max)
    if protocol is None:
        raise UnsupportedProtocol(
            f"the {who} speaks protocol versions {peer_min} to {peer_max}, this server "
            f"{PROTOCOL_MIN} to {PROTOCOL_MAX}; upgrade the older one"
        )
    return protocol
