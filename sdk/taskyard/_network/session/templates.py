"""What the runs of one task have in common, on its way to the control plane.

Invariant: a template never changes after it was made, so streams may refer to it by a small index and
compare templates by identity.
"""

from collections.abc import Callable

from taskyard_api.v1 import template_pb2


def _always() -> bool:
    return True


class Template:
    """A `RunTemplate` together with the code it names."""

    __slots__ = ("code", "digest", "holds", "message", "names", "task_key")

    def __init__(
        self,
        message: template_pb2.RunTemplate,
        code: bytes = b"",
        names: frozenset[str] = frozenset(),
        holds: Callable[[], bool] = _always,
    ) -> None:
        """Wrap a message.

        Args:
            message: The message.
            code: Its blob, when that is small enough to travel inline.
            names: What of the program's main module comes along with the code.
            holds: Says whether it is still what a call would be written as.
        """
        self.message = message
        self.code = code
        self.names = names
        self.holds = holds
        self.digest: bytes = message.code.blob_digest if code else b""
        self.task_key: str = message.task_key
