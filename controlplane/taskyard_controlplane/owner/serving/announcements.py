"""What a server tells of itself to whoever asks or connects: what it takes, and which runs are its own.

Every number comes from the constant, or the setting, that is enforced: nobody has to find it out by being
refused.
"""

from typing import Final

from taskyard_api.v1 import common_pb2 as pb
from taskyard_contract.transport.channels import MAX_FRAME_BYTES
from taskyard_contract.wire_text import LOG_LIMIT, MESSAGE_LIMIT, NAME_LIMIT
from taskyard_controlplane.owner.journal.template_reading import MAX_TEMPLATE_BYTES
from taskyard_controlplane.owner.peers.frame_limits import (
    MAX_BATCH_RUNS,
    MAX_DEFINED_BYTES,
    MAX_HELD,
    MAX_ITEMS,
)
from taskyard_controlplane.owner.queueing.checks import MAX_RUNS
from taskyard_controlplane.owner.queueing.submission import MAX_TEMPLATES
from taskyard_controlplane.owner.serving.terms import Terms, milliseconds

MAX_UNACKED_BATCHES: Final = 8
"""How many batches a client may have under way: enough to keep the writer busy, few enough that all of them
can be sent again after a lost stream."""
LAST_SHARD: Final = 0xFFFF
"""Ids have two bytes for it."""


def limits_of(terms: Terms) -> pb.Limits:
    """Return what a server with these terms takes."""
    return pb.Limits(
        frame_bytes=MAX_FRAME_BYTES,
        inline_bytes=terms.max_inline_bytes,
        payload_bytes=terms.max_payload_bytes,
        input_bytes=terms.memory.inputs,
        frame_runs=MAX_BATCH_RUNS,
        submit_runs=MAX_RUNS,
        frame_items=MAX_ITEMS,
        definition_bytes=MAX_DEFINED_BYTES,
        template_bytes=MAX_TEMPLATE_BYTES,
        stream_templates=MAX_TEMPLATES,
        name_bytes=NAME_LIMIT,
        message_bytes=MESSAGE_LIMIT,
        log_bytes=LOG_LIMIT,
        held_runs=MAX_HELD,
        page_size=terms.max_page_size,
        wait_ms=milliseconds(terms.max_wait_seconds),
        unacked_batches=MAX_UNACKED_BATCHES,
    )


def owned_here() -> list[pb.ShardOwner]:
    """Return who owns which shards, as a server says that owns all of them."""
    return [pb.ShardOwner(first=0, last=LAST_SHARD)]
