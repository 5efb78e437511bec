"""Values on their way through the control plane, which never looks inside them.

Invariant: what `encode` writes, `decode` of any later version reads, by the encoding's name.
"""

import json
from collections.abc import Callable
from typing import Any, Final

from taskyard_api.v1 import common_pb2
from taskyard_contract import pickling

PICKLE: Final = pickling.ENCODING
JSON: Final = "json/plain"
BINARY: Final = "binary/plain"

encode = pickling.dumps

_DECODERS: Final[dict[str, Callable[[bytes], Any]]] = {
    PICKLE: pickling.loads,
    JSON: json.loads,
    BINARY: bytes,
}


def decode(data: bytes, encoding: str = PICKLE) -> Any:
    """Return the value that was encoded.

    Raises:
        ValueError: The encoding is unknown here.
    """
    decoder = _DECODERS.get(encoding or PICKLE)
    if decoder is None:
        raise ValueError(
            f"cannot decode a value with encoding '{encoding}'; known are {', '.join(_DECODERS)}"
        )
    return decoder(data)


def decode_payload(payload: common_pb2.Payload, fetch: Callable[[common_pb2.BlobRef], bytes] | None) -> Any:
    """Return the value of a payload; `fetch` reads blobs. An empty payload stands for None."""
    body = payload.WhichOneof("body")
    if body is None:
        return None
    if body == "blob":
        if fetch is None:
            raise ValueError("the value is stored as a blob and there is no connection to read it")
        return decode(fetch(payload.blob), payload.encoding)
    return decode(payload.data, payload.encoding)
