"""However much is logged, frames have a size that servers take."""

from typing import Any

from taskyard_api.v1 import session_service_pb2
from taskyard_contract.agent_link import Identity, LinkSession
from taskyard_contract.agent_link.handler import Demand
from taskyard_contract.transport.channels import MAX_FRAME_BYTES


class Idle:
    def on_welcome(self, welcome: Any) -> None: ...
    def on_doubt(self, doubtful: bool) -> None: ...
    def held(self) -> Any:
        return ()

    def demand(self) -> Any:
        return Demand(0, 1, 1)


def test_logs_never_make_a_frame_that_no_server_takes() -> None:
    session = LinkSession(Identity("a", b"s" * 16, "a", ("default",), 1), Idle())  # type: ignore[arg-type]
    session.hello(0.0)
    message = "x" * 32 * 1024
    for _ in range(3):  # three workers, or a stream that is down for a moment
        count = 200
        session.log(
            session_service_pb2.LogBatch(
                run_ids=[b"r" * 16] * count,
                at_us=[0] * count,
                levels=[20] * count,
                loggers=["l"] * count,
                messages=[message] * count,
                run_names=["n"] * count,
            )
        )
    session.report(1, b"r" * 16, b"columns")
    sent, reported_after = 0, []
    while (frame := session.next_frame()) is not None:
        assert frame.ByteSize() < MAX_FRAME_BYTES
        sent += len(frame.logs.run_ids)
        reported_after += [sent] * len(frame.reports)
    assert (sent, reported_after) == (600, [600]), "all of it, and before the report"
