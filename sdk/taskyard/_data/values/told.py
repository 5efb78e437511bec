"""What a session is told of a run besides an ordinary value, as futures keep it."""

from taskyard_api.v1 import session_service_pb2 as pb


class Told:
    """An outcome as it was written: read, it takes more than a kilobyte, whatever is in it.

    Besides, a part of a message holds all of that, which may be a megabyte of the results of others.
    """

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        """Keep a written `RunOutcome`."""
        self.data = data

    def read(self) -> pb.RunOutcome:
        """Return the message."""
        return pb.RunOutcome.FromString(self.data)
