"""Which version of the protocol a peer and this server speak with each other."""

from taskyard_contract.errors import UnsupportedProtocol
from taskyard_contract.versions import PROTOCOL_MAX, PROTOCOL_MIN, negotiate


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
