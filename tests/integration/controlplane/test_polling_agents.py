"""Complete agents that poll do all that agents with a stream do, also behind a bad proxy."""

import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from support.poller import LONG_MS, Poller, agents_of, ended
from support.polling_agent import PollingAgent, completed

from taskyard_api.v1 import admin_service_pb2, template_pb2
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract import capabilities
from taskyard_contract.errors import (
    InvalidRequest,
    UnknownSession,
)
from taskyard_contract.ids import split_ids
from taskyard_contract.states import AgentState, RunState
from taskyard_contract.transport.rpc_errors import from_rpc_error


@pytest.fixture
def working(served: Any) -> Iterator[PollingAgent]:
    """A complete agent in a thread of its own."""

    def fail(args: bytes) -> bytes:
        raise ValueError("no good")

    agent = PollingAgent(served.agents, {"add": lambda args: args + b"!", "fail": fail})
    thread = threading.Thread(target=agent.run)
    thread.start()
    yield agent
    agent.drained.set()
    thread.join(10)


def test_an_agent_without_a_stream_does_all_an_agent_does(served: Any, working: PollingAgent) -> None:
    added, [failed] = served.submit(20), served.submit(name="fail")
    assert {ended(served, run_id).state for run_id in added} == {RunState.COMPLETED}
    run = served.get(added[0], include_result=True)
    assert (run.result.data, run.started_us) == (b"x!", 5_000_000)
    assert ended(served, failed).state == RunState.FAILED
    assert [(row.agent_id, row.state) for row in agents_of(served)] == [("id-poller", AgentState.ONLINE)]
    served.admin.DrainAgent(admin_service_pb2.DrainAgentRequest(agent_id="id-poller"), timeout=10)
    assert working.drained.wait(10)
    assert agents_of(served) == []


class BadProxy:
    """Stands for the stub of an agent: loses calls, loses responses, and sends old calls again."""

    def __init__(self, stub: Any, seed: int) -> None:
        self._stub, self._random = stub, random.Random(seed)
        self._seen: list[tuple[str, Any]] = []
        self.replayed = self.lost = 0

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def call(request: Any, timeout: float) -> Any:
            self._seen.append((method, request))
            luck = self._random.random()
            if luck < 0.2:
                self._replay(*self._random.choice(self._seen), timeout)
            response = None if luck > 0.9 else getattr(self._stub, method)(request, timeout=timeout)
            if luck > 0.7:
                self.lost += 1
                raise Broken
            return response

        return call

    def _replay(self, method: str, request: Any, timeout: float) -> None:
        try:
            getattr(self._stub, method)(request, timeout=timeout)
        except grpc.RpcError as error:
            told = from_rpc_error(error)  # type: ignore[arg-type]  # what stubs raise is a call as well
            assert isinstance(told, InvalidRequest), told
        self.replayed += 1


class Broken(grpc.RpcError):
    """What gRPC raises when a connection breaks."""

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNAVAILABLE

    def details(self) -> str:
        return "connection reset"

    def trailing_metadata(self) -> None:
        return None


@pytest.mark.parametrize("seed", range(3))
def test_behind_a_bad_proxy_every_run_is_executed_once(served: Any, seed: int) -> None:
    executed: list[bytes] = []

    def note(args: bytes) -> bytes:
        executed.append(args)
        return args

    proxy = BadProxy(served.agents, seed)
    agent = PollingAgent(proxy, {"add": note})
    agent.poll()
    ids = [run_id for number in range(150) for run_id in served.submit(data=b"%d" % number)]
    while agent.held or len(executed) < len(ids):
        agent.step(wait_ms=20)
    assert sorted(executed) == sorted(b"%d" % number for number in range(150))
    runs = [served.get(run_id, include_result=True) for run_id in ids]
    assert {(run.state, run.infra_retries) for run in runs} == {(RunState.COMPLETED, 0)}
    assert [run.result.data for run in runs] == [b"%d" % number for number in range(150)]
    assert proxy.replayed
    assert proxy.lost


def test_a_restart_costs_a_polling_agent_nothing(
    serve: Callable[..., Any], run_on_loop: Callable[..., Any]
) -> None:
    before = serve()
    held, finished = before.submit(2)
    agent = PollingAgent(before.agents, {})
    agent.poll()
    agent.poll(max_runs=2, chunk_size=2, wait_ms=LONG_MS)
    assert list(agent.held) == [held, finished]
    run_on_loop(before.plane.stop())
    after = serve()
    agent.stub = after.agents
    with pytest.raises(UnknownSession):
        agent.call("Poll", pb.PollRequest(**agent.ids, number=3))
    agent.report(reports=[completed(agent.held[finished], finished)])  # says hello by itself
    assert list(agent.held) == [held, finished]  # nothing was to be dropped
    agent.report(reports=[completed(agent.held[held], held)])
    for run_id in (held, finished):
        run = ended(after, run_id)
        assert (run.state, run.attempt, run.infra_retries) == (RunState.COMPLETED, 1, 0)


def test_what_started_and_what_was_given_back(served: Any, poller: Poller) -> None:
    [run_id] = served.submit()
    epoch, _ = poller.take(2)
    key = pb.RunKey(run_id=run_id, epoch=epoch)
    poller.report(1, started=[pb.StartedRun(key=key)])
    assert served.get(run_id).state == RunState.RUNNING
    poller.report(2, lost=[pb.LostRun(key=key)])
    epoch, again = poller.take(3)
    poller.report(3, given_back=[pb.RunKey(run_id=again, epoch=epoch)])
    assert (poller.take(4)[1], served.get(run_id).infra_retries) == (run_id, 1)


def test_the_ids_of_a_chunk_belong_to_consecutive_epochs(served: Any, poller: Poller) -> None:
    ids = served.submit(3)
    [chunk] = poller.poll(2, max_runs=3, chunk_size=3).chunks
    assert list(split_ids(chunk.run_ids)) == ids
    reports = [completed(chunk.first_epoch + at, run_id) for at, run_id in enumerate(ids)]
    assert poller.report(1, *reports) == 1
    assert {served.get(run_id).state for run_id in ids} == {RunState.COMPLETED}


def test_a_polling_agent_gets_only_what_it_announced(served: Any) -> None:
    agent = PollingAgent(served.agents, {"add": lambda args: args + b"!"})
    agent.capabilities = (capabilities.CODE_BY_NAME, "json/plain")
    foreign = template_pb2.Code(reference="module:function")
    unable, able = served.submit(3, code=foreign), served.submit(3)
    agent.poll()
    while any(served.get(run_id).state != RunState.COMPLETED for run_id in able):
        agent.step()
    assert {served.get(run_id).state for run_id in unable} == {RunState.READY}
    other = PollingAgent(served.agents, {}, "other")
    other.capabilities = (capabilities.CODE_BY_REFERENCE, "json/plain")
    other.poll()
    other.poll(max_runs=5, chunk_size=5, wait_ms=LONG_MS)
    assert list(other.held) == unable
