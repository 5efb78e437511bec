"""Headers of runs: what is passed on to their workers, a trace that they belong to for example.

Kept in the form in which workers get them, so that nothing is read on the way.
"""

from collections.abc import Mapping

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract.errors import InvalidRequest
from taskyard_contract.payload_limits import MAX_HEADER_BYTES


def pack_headers(headers: Mapping[str, str], field: str) -> bytes | None:
    """Return headers as they are kept, None for none; `field` of the request has them.

    Raises:
        InvalidRequest: They are too long, or a name is empty or not printable.
    """
    if not headers:
        return None
    for name in headers:
        if not name or not name.isprintable():
            raise InvalidRequest(
                f"{field} has the name {name[:80]!r}, which is no printable text", field=field
            )
    size = sum(len(text.encode()) for text in (*headers, *headers.values()))
    if size > MAX_HEADER_BYTES:
        raise InvalidRequest(
            f"{field} has {size:,} bytes, names and values; at most {MAX_HEADER_BYTES:,} are taken",
            limit=MAX_HEADER_BYTES,
            field=field,
        )
    return pb.AttemptExtra(headers=headers).SerializeToString(deterministic=True)
