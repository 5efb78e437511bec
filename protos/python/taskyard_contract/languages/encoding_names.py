"""The encodings that all know by name. What is written in them, `taskyard_contract.encodings` reads."""

from typing import Final

PICKLE: Final = "python/pickle5"
JSON: Final = "json/plain"
"""UTF-8."""
BINARY: Final = "binary/plain"
"""The bytes are the value."""
PROTOBUF: Final = "binary/protobuf"
"""A message; its full name is the type of its payload."""
JSON_PROTOBUF: Final = "json/protobuf"
"""The same as JSON."""
