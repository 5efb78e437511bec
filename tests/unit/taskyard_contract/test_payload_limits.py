"""Limits that are written down once hold everywhere."""

from taskyard_contract.payload_limits import MAX_INLINE_BYTES, MAX_PAYLOAD_BYTES
from taskyard_controlplane.settings import RpcSettings


def test_what_is_assumed_of_a_server_is_what_a_server_does_unless_it_is_told_otherwise() -> None:
    server = RpcSettings()
    assert (server.max_inline_bytes, server.max_payload_bytes) == (MAX_INLINE_BYTES, MAX_PAYLOAD_BYTES)
