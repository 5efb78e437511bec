"""Log records that did not reach a program are not missed in silence."""

import logging

import pytest
from support.loopback import LoopbackSession

from taskyard._network.session import session as sessions
from taskyard_api.v1 import session_service_pb2 as pb


def test_a_program_is_told_how_many_log_records_were_dropped(
    session: LoopbackSession, caplog: pytest.LogCaptureFixture
) -> None:
    session.in_flight.said = sessions.Session(lambda: "").in_flight.said
    with caplog.at_level(logging.WARNING, "taskyard.session"):
        session.in_flight.on_frame(pb.SessionFrame(submitted_up_to=1))
        session.in_flight.on_frame(pb.SessionFrame(dropped_logs=12))
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["12 log records dropped"]
