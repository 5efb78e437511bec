"""A peer that floods, or does not read, costs what the settings say; and nothing it sent is lost."""

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_api.v1 import states_pb2, template_pb2
from taskyard_contract.errors import InvalidRequest, Overloaded
from taskyard_contract.id_factory import new_id, new_ids
from taskyard_contract.transport.rpc_errors import from_rpc_error
from taskyard_controlplane.domain.memory import MemoryLimits
from taskyard_controlplane.owner.peers.frame_limits import MAX_ITEMS
from taskyard_controlplane.settings import PeerSettings

KIB = 1024


class Client:
    """A stream that sends what it likes, and reads only when it is asked to."""

    def __init__(self, served: Any) -> None:
        self._outgoing: queue.Queue[sp.ClientFrame | None] = queue.Queue()
        self.session_id = new_id()
        hello = sp.SessionHello(protocol_min=2, protocol_max=2, session_id=self.session_id)
        self.send(hello=hello)
        self.frames = served.sessions.Connect(iter(self._outgoing.get, None), timeout=60)
        assert next(self.frames).HasField("welcome")

    def send(self, **fields: Any) -> None:
        self._outgoing.put(sp.ClientFrame(**fields))

    def submit(self, number: int, args: list[bytes]) -> list[bytes]:
        template = template_pb2.RunTemplate(
            kind=states_pb2.RUN_KIND_TASK, name="t", queue="default", encoding="python/pickle5",
            code=template_pb2.Code(task_name="t"),
        )  # fmt: skip
        ids = new_ids(len(args))
        self.send(
            submit=sp.SubmitBatch(
                number=number,
                templates=[template_pb2.TemplateDefinition(index=1, template=template)],
                groups=[sp.RunGroup(template=1, run_ids=ids, args=args)],
            )
        )
        return ids

    def close(self) -> None:
        self._outgoing.put(None)
        self.frames.cancel()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)  # for what another thread does


def test_a_client_that_ignores_its_window_is_read_as_fast_as_the_database_commits(
    serve: Callable[..., Any],
) -> None:
    served = serve(memory=MemoryLimits(read_from_client=512 * KIB))
    owner, go_on = served.plane.owner, threading.Event()
    commit = owner._store.commit

    def slow(batch: Any) -> Any:
        assert go_on.wait(60)
        return commit(batch)

    owner._store.commit = slow
    owner._store.small_commits_are_fast = False
    client = Client(served)
    for number in range(1, 101):
        client.submit(number, [b"x" * 30 * KIB] * 4)
    intake = owner.connections.client_intake
    session = owner.shard.roster.sessions[client.session_id]
    until(lambda: session.held_up is not None)
    assert 512 * KIB < intake.total < 800 * KIB
    assert session.unsettled_batches <= 9
    go_on.set()
    acknowledged = 0
    while acknowledged < 100:
        acknowledged = max(acknowledged, next(client.frames).submitted_up_to)
    until(lambda: intake.total == 0)
    client.close()


def test_a_client_that_does_not_read_holds_its_window_and_gets_everything_in_the_end(
    serve: Callable[..., Any], connect_agent: Callable[..., Any]
) -> None:
    served = serve(memory=MemoryLimits(pushed_results=400 * KIB, pushed_logs=40 * KIB))
    agent, client = connect_agent(served), Client(served)
    ids = client.submit(1, [b"x"] * 200)
    taken = agent.take(200)
    agent.log(
        sp.LogBatch(
            run_ids=[taken[0][1]] * 100, at_us=[1] * 100, levels=[20] * 100, loggers=["l"] * 100,
            messages=["m" * 30 * KIB] * 100,
        )
    )  # fmt: skip
    for epoch, run_id in taken:
        agent.report(epoch, run_id, b"r" * 60 * KIB)
    windows = served.plane.owner.shard.roster.windows
    session = served.plane.owner.shard.roster.sessions[client.session_id]
    until(lambda: not served.plane.owner.open_count() and len(session._owed) > 100)
    assert windows.limits.pushed - windows.results.left <= 400 * KIB
    assert windows.limits.pushed - windows.logs.left <= 300 * KIB
    results: dict[bytes, bytes] = {}
    told = dropped = 0
    while len(results) < 200 or told + dropped < 100:
        frame = next(client.frames)
        results.update(zip(frame.results.run_ids, frame.results.data, strict=True))
        told += len(frame.logs.messages)
        dropped += frame.dropped_logs
    assert results.keys() == set(ids)
    assert set(results.values()) == {b"r" * 60 * KIB}
    assert dropped > 0
    client.close()
    until(lambda: windows.results.left == windows.limits.pushed)


@pytest.mark.parametrize("field", ["cancel", "withdraw", "subscribe"])
def test_a_million_ids_are_refused_by_name(served: Any, field: str) -> None:
    client = Client(served)
    client.send(**{field: [new_id()] * (MAX_ITEMS + 1)})
    with pytest.raises(grpc.RpcError) as caught:
        next(client.frames)
    error = from_rpc_error(caught.value)  # type: ignore[arg-type]  # a call that failed has all of it
    assert isinstance(error, InvalidRequest)
    assert field in str(error)
    assert error.limit == MAX_ITEMS


def test_an_agent_that_restates_more_than_it_could_hold_is_refused(served: Any) -> None:
    hello = ap.AgentHello(
        protocol_min=2, protocol_max=2, agent_id="a", session_id=new_id(), queues=["q"],
        held=[ap.RunKey(run_id=new_id(), epoch=1)] * 20_000,
    )  # fmt: skip
    with pytest.raises(grpc.RpcError) as caught:
        next(served.agents.Connect(iter([ap.AgentFrame(hello=hello)]), timeout=20))
    error = from_rpc_error(caught.value)  # type: ignore[arg-type]
    assert isinstance(error, InvalidRequest)
    assert "held" in str(error)


def test_sessions_from_one_address_have_a_limit_which_counts_those_whose_lease_goes_on(served: Any) -> None:
    roster = served.plane.owner.shard.roster
    roster.most_per_host = 2
    clients = [Client(served) for _ in range(2)]
    clients[0].close()
    with pytest.raises(grpc.RpcError) as caught:
        Client(served)
    error = from_rpc_error(caught.value)  # type: ignore[arg-type]
    assert isinstance(error, Overloaded)
    assert "2 sessions from ipv4:127.0.0.1" in str(error)
    roster.most_per_host, roster.most = 9, 2
    with pytest.raises(grpc.RpcError, match="2 sessions already"):
        Client(served)
    clients[1].close()


def test_agents_have_a_limit_as_well(serve: Callable[..., Any], connect_agent: Callable[..., Any]) -> None:
    served = serve(peers=PeerSettings())
    served.plane.owner.shard.roster.most = 1
    connect_agent(served)
    hello = ap.AgentHello(
        protocol_min=2, protocol_max=2, agent_id="second", session_id=new_id(), queues=["q"]
    )
    with pytest.raises(grpc.RpcError, match="1 agents already"):
        next(served.agents.Connect(iter([ap.AgentFrame(hello=hello)]), timeout=20))
