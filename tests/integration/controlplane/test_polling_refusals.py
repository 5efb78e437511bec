"""Malformed polls and reports are refused, and the session goes on."""

from typing import Any

import pytest
from support.poller import Poller
from support.polling_agent import completed

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract.errors import (
    InvalidRequest,
    Superseded,
    TaskyardError,
    UnknownSession,
    UnsupportedProtocol,
)
from taskyard_contract.states import RunState


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"number": 0}, InvalidRequest),
        ({"number": 1}, InvalidRequest),
        ({"number": 4}, UnknownSession),
        ({"number": 3, "agent_id": ""}, InvalidRequest),
        ({"number": 3, "agent_id": "id-another"}, InvalidRequest),
        ({"number": 3, "session_id": b""}, InvalidRequest),
        ({"number": 3, "session_id": b"never seen"}, Superseded),
        ({"number": 3, "agent_id": "id-another", "session_id": b"never seen"}, UnknownSession),
        ({"number": 3, "chunk_size": 0}, InvalidRequest),
        ({"number": 3, "hello": {"agent_id": "id-another"}}, InvalidRequest),
        ({"number": 3, "hello": {"queues": []}}, InvalidRequest),
        ({"number": 3, "hello": {"protocol_min": 99, "protocol_max": 99}}, UnsupportedProtocol),
        ({"number": 1, "hello": {}}, InvalidRequest),
    ],
)
def test_a_malformed_poll_is_refused_and_the_session_goes_on(
    served: Any, poller: Poller, fields: dict[str, Any], error: type[TaskyardError]
) -> None:
    poller.poll(2)
    if "hello" in fields:
        fields = {**fields, "hello": poller.hello(**fields["hello"])}
    with pytest.raises(error):
        poller.poll(**fields)
    [run_id] = served.submit()
    assert poller.take(3)[1] == run_id


def test_malformed_reports_are_refused_and_the_session_goes_on(served: Any, poller: Poller) -> None:
    [run_id] = served.submit()
    epoch, _ = poller.take(2)
    with pytest.raises(InvalidRequest, match="number"):
        poller.report(0, completed(epoch, run_id))
    with pytest.raises(InvalidRequest, match="agent id"):
        poller.report(1, completed(epoch, run_id), agent_id="")
    with pytest.raises(InvalidRequest, match="ReportColumns"):
        poller.report(1, pb.ReportChunk(first_epoch=epoch, run_ids=run_id, columns=b"\xff\xff"))
    with pytest.raises(UnknownSession, match="out of turn"):
        poller.report(3, completed(epoch, run_id))
    assert served.get(run_id).state == RunState.ASSIGNED
    assert poller.report(2, completed(epoch, run_id)) == 2
    assert served.get(run_id).state == RunState.COMPLETED
