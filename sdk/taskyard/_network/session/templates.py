"""What the runs of one task have in common, on its way to the control plane.

Invariant: a template never changes after it was made, so streams may refer to it by a small index and
compare templates by identity.
"""

from taskyard_api.v1 import template_pb2


class Template:
    """A `RunTemplate` together with the code it names."""

    __slots__ = ("code", "digest", "message", "task_key")

    def __init__(self, message: template_pb2.RunTemplate, code: bytes = b"") -> None:
        """Wrap a message; `code` is its blob, when that is small enough to travel inline."""
        self.message = message
        self.code = code
        self.digest: bytes = message.code.blob_digest if code else b""
        self.task_key: str = message.task_key
