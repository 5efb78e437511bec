"""What the control plane tells its data process when it starts it: by a pipe, because others can read the
arguments and the environment of a process.
"""

import json
from pathlib import Path
from typing import NamedTuple, Self


class Instructions(NamedTuple):
    """Where blobs are, who is let in, and where to listen."""

    directory: Path
    key: bytes
    listener: int
    """The descriptor of a socket that listens."""
    log_level: int
    parent: int
    """The process that starts it, and that it ends with."""

    def line(self) -> bytes:
        """Return them as one line."""
        fields = {**self._asdict(), "directory": str(self.directory), "key": self.key.hex()}
        return json.dumps(fields).encode() + b"\n"

    @classmethod
    def of(cls, line: bytes) -> Self:
        """Understand such a line."""
        fields = json.loads(line)
        fields |= {"directory": Path(fields["directory"]), "key": bytes.fromhex(fields["key"])}
        return cls(**fields)
