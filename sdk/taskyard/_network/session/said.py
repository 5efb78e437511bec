"""What a server says that runs have said: log records and output, and how much of both is not said."""

from collections.abc import Callable

from taskyard_api.v1 import session_service_pb2 as pb


class Said:
    """Hands on what runs have said; whoever shows it sets what is called."""

    def __init__(self) -> None:
        """Show nothing."""
        self.show: Callable[[pb.LogBatch | None, pb.OutputBatch | None], None] = _nobody
        self.dropped_logs: Callable[[int], None] = _nobody
        """How many log records this program has read too slowly."""
        self.dropped_output: Callable[[int], None] = _nobody
        """The same of lines of output."""
        self.lost_logs: Callable[[int], None] = _nobody
        """How many log records of this program the server did not take in time."""

    def hear(self, frame: pb.SessionFrame) -> None:
        """Take what a frame has of it."""
        logs = frame.logs if frame.HasField("logs") else None
        output = frame.output if frame.HasField("output") else None
        if logs is not None or output is not None:
            self.show(logs, output)
        if frame.dropped_logs:
            self.dropped_logs(frame.dropped_logs)
        if frame.dropped_output:
            self.dropped_output(frame.dropped_output)


def _nobody(*_: object) -> None:
    """Tell nobody."""
