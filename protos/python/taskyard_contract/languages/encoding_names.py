"""The encodings that all know by name. What is written in them, `taskyard_contract.encodings` reads."""

from typing import Final

PICKLE: Final = "python/pickle5"
BUFFERS: Final = "python/pickle5+buffers"
"""A pickle with its buffers beside it, see `values.layout`: what large values of Python are stored as."""
JSON: Final = "json/plain"
"""UTF-8."""
BINARY: Final = "binary/plain"
"""The bytes are the value."""
PROTOBUF: Final = "binary/protobuf"
"""A message; its full name is the type of its payload."""
JSON_PROTOBUF: Final = "json/protobuf"
"""The same as JSON."""
