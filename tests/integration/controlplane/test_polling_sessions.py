"""Whose session it is, who takes over, and how one ends."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from support.poller import LONG_MS, SHORT_LEASE, Poller, agents_of, answer
from support.polling_agent import completed
from support.programs import eventually

from taskyard_api.v1 import admin_service_pb2
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract.errors import (
    AgentExists,
    InvalidRequest,
    StreamReplaced,
    Superseded,
    UnknownSession,
)
from taskyard_contract.states import AgentState, RunState
from taskyard_contract.transport.rpc_errors import from_rpc_error
from taskyard_contract.versions import PROTOCOL_MAX


def test_a_lapsed_lease_gives_the_run_to_another_agent(serve: Callable[..., Any]) -> None:
    served = serve(lease=SHORT_LEASE)
    slow, other = Poller(served, "slow"), Poller(served, "other")
    slow.greet()
    [run_id] = served.submit()
    epoch, _ = slow.take(2)
    other.greet()
    number, chunks = 2, list(other.poll(2).chunks)
    while not chunks:  # each wait is a part of the lease
        number, chunks = number + 1, list(other.poll(number + 1, wait_ms=LONG_MS).chunks)
    with pytest.raises(UnknownSession):
        slow.report(1, completed(epoch, run_id, b"late"))
    key = pb.RunKey(run_id=run_id, epoch=epoch)
    assert list(slow.greet(3, held=[key]).welcome.drop) == [key]
    assert slow.report(1, completed(epoch, run_id, b"late")) == 1
    assert served.get(run_id).state == RunState.ASSIGNED
    other.report(1, completed(chunks[0].first_epoch, run_id, b"in time"))
    run = served.get(run_id, include_result=True)
    assert (run.result.data, run.infra_retries) == (b"in time", 0), "nobody said that it had started"


def test_a_drained_agent_has_reported_everything(served: Any, poller: Poller) -> None:
    [run_id] = served.submit()
    epoch, _ = poller.take(2)
    served.admin.DrainAgent(admin_service_pb2.DrainAgentRequest(agent_id="id-poller"), timeout=10)
    assert poller.poll(3, wait_ms=LONG_MS).drain
    served.submit()
    leaving = poller.begin(4, wait_ms=LONG_MS, draining=True)
    poller.until_waiting()
    assert not leaving.done()
    assert [row.state for row in agents_of(served)] == [AgentState.DRAINING]
    poller.report(1, completed(epoch, run_id))
    assert answer(leaving) == pb.PollResponse(drained=True, reported_up_to=1)
    assert agents_of(served) == []
    with pytest.raises(UnknownSession):
        poller.poll(4, draining=True)


def test_another_process_takes_over_when_the_first_one_is_gone(served: Any, poller: Poller) -> None:
    [run_id] = served.submit()
    poller.take(2)
    waiting = poller.begin(3, wait_ms=LONG_MS)
    poller.until_waiting()
    newer = Poller(served)
    with pytest.raises(AgentExists):
        newer.greet()
    waiting.cancel()  # what the end of its process does
    eventually(lambda: succeeds(newer.greet), "the place is free")
    for call in (lambda: poller.poll(3), lambda: poller.report(1)):
        with pytest.raises(Superseded):
            call()
    assert newer.take(2)[1] == run_id


def succeeds(call: Callable[[], object]) -> bool:
    """Whether a hello is taken."""
    try:
        call()
    except AgentExists:
        return False
    return True


def test_a_stream_takes_over_and_a_poll_takes_it_back(served: Any, poller: Poller) -> None:
    [run_id] = served.submit()
    epoch, _ = poller.take(2)
    key = pb.RunKey(run_id=run_id, epoch=epoch)
    hello = poller.hello(held=[key])
    end = threading.Event()

    def frames() -> Iterator[pb.AgentFrame]:
        yield pb.AgentFrame(hello=hello)
        end.wait(10)

    stream = served.agents.Connect(frames(), timeout=10)
    welcome = next(stream).welcome
    assert (welcome.protocol, len(welcome.drop)) == (PROTOCOL_MAX, 0)
    with pytest.raises(Superseded):
        poller.poll(3)
    answer = poller.greet(3, held=[key])
    assert (answer.HasField("welcome"), len(answer.welcome.drop)) == (True, 0)
    with pytest.raises(grpc.RpcError) as caught:
        next(stream)
    end.set()
    assert isinstance(from_rpc_error(caught.value), StreamReplaced)  # type: ignore[arg-type]
    assert poller.report(1, completed(epoch, run_id)) == 1
    assert served.get(run_id).state == RunState.COMPLETED


def test_a_session_belongs_to_one_agent(served: Any, poller: Poller) -> None:
    other = Poller(served, "other", session_id=poller.ids["session_id"])
    with pytest.raises(InvalidRequest, match="another agent"):
        other.greet(2)
    assert poller.poll(2) == pb.PollResponse()
