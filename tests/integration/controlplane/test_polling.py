"""Agents without a stream: what gets lost between two calls is asked for again, and nothing happens twice."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from support.polling_agent import PollingAgent, completed

from taskyard_api.v1 import admin_service_pb2, run_service_pb2
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract.errors import (
    InvalidRequest,
    StorageUnavailable,
    Superseded,
    TaskyardError,
    UnknownSession,
    UnsupportedProtocol,
)
from taskyard_contract.id_factory import new_id
from taskyard_contract.ids import split_ids
from taskyard_contract.rpc_errors import from_rpc_error
from taskyard_contract.states import AgentState, RunState
from taskyard_controlplane.settings import LeaseSettings

LONG_MS = 8_000
SHORT_LEASE = LeaseSettings(agent_lease_seconds=1.5)


class Poller:
    """An agent that does what the test says, call by call."""

    def __init__(self, served: Any, name: str = "poller", session_id: bytes = b"") -> None:
        self.served = served
        self.ids: dict[str, Any] = {"agent_id": f"id-{name}", "session_id": session_id or new_id()}

    def hello(self, **fields: Any) -> pb.AgentHello:
        usual = {"protocol_min": 1, "protocol_max": 1, "queues": ["default"], "name": "poller"}
        return pb.AgentHello(**{**usual, **self.ids, **fields})

    def begin(self, number: int, *, timeout: float = 10, **fields: Any) -> Any:
        """Start a poll; ask for one run unless the test says otherwise."""
        request = pb.PollRequest(**{**self.ids, "number": number, "max_runs": 1, "chunk_size": 1, **fields})
        return self.served.agents.Poll.future(request, timeout=timeout)

    def poll(self, number: int, **fields: Any) -> pb.PollResponse:
        return answer(self.begin(number, **fields))

    def greet(self, number: int = 1, **fields: Any) -> pb.PollResponse:
        return self.poll(number, hello=self.hello(**fields))

    def take(self, number: int, **fields: Any) -> tuple[int, bytes]:
        """Poll until there is a run, and return its epoch and id."""
        [chunk] = self.poll(number, wait_ms=LONG_MS, **fields).chunks
        return chunk.first_epoch, chunk.run_ids

    def report(self, number: int, *reports: pb.ReportChunk, timeout: float = 10, **fields: Any) -> int:
        """Report a batch; returns what was acknowledged."""
        ids = {**self.ids, "report_number": number, "reports": reports}
        request = pb.ReportBatchRequest(**{**ids, **fields})
        return answer(self.served.agents.ReportBatch.future(request, timeout=timeout)).reported_up_to

    def until_waiting(self) -> None:
        """Return when the calls made so far have arrived: the server answers in order of arrival."""
        self.served.admin.GetServerInfo(admin_service_pb2.GetServerInfoRequest(), timeout=10)


def answer(call: Any) -> Any:
    try:
        return call.result()
    except grpc.RpcError as error:
        raise from_rpc_error(error) from None  # type: ignore[arg-type]  # what stubs raise is a call as well


def agents_of(served: Any) -> list[Any]:
    return list(served.admin.ListAgents(admin_service_pb2.ListAgentsRequest(), timeout=10).agents)


def ended(served: Any, run_id: bytes) -> run_service_pb2.Run:
    request = run_service_pb2.WaitRunRequest(run_id=run_id, timeout_ms=LONG_MS)
    run: run_service_pb2.Run = served.runs.WaitRun(request, timeout=10).run
    assert run.state >= RunState.COMPLETED
    return run


@pytest.fixture
def poller(served: Any) -> Poller:
    """An agent that has said hello as its first poll."""
    connected = Poller(served)
    assert connected.greet().welcome.lease_ms == 30_000
    return connected


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


def test_a_lost_response_is_repeated_until_the_next_number(served: Any, poller: Poller) -> None:
    ids = served.submit(2)
    lost = poller.poll(2)
    assert poller.poll(2) == lost
    assert [chunk.run_ids for chunk in lost.chunks] == ids[:1]
    assert len(lost.templates) == 1
    following = poller.poll(3)
    assert ([chunk.run_ids for chunk in following.chunks], len(following.templates)) == (ids[1:], 0)


def test_a_lost_welcome_is_repeated(served: Any, poller: Poller) -> None:
    [run_id] = served.submit()
    assert poller.greet() == poller.greet()
    assert poller.take(2)[1] == run_id
    served.admin.DrainAgent(admin_service_pb2.DrainAgentRequest(agent_id="id-poller"), timeout=10)
    lost = poller.greet(3)
    assert lost.drain
    assert poller.greet(3) == lost


def test_a_hello_in_place_of_a_poll_begins_anew(served: Any, poller: Poller) -> None:
    [run_id] = served.submit()
    epoch, _ = poller.take(2)
    key = pb.RunKey(run_id=run_id, epoch=epoch)
    assert list(poller.greet(2, held=[key]).welcome.adopt) == [key]


def test_a_call_that_broke_while_it_waited_is_found_again(served: Any, poller: Poller) -> None:
    broken = poller.begin(2, wait_ms=LONG_MS)
    poller.until_waiting()
    broken.cancel()
    [run_id] = served.submit()
    assert poller.take(2)[1] == run_id
    assert poller.take(2)[1] == run_id


def test_a_repeat_joins_the_call_that_waits_and_updates_it(served: Any, poller: Poller) -> None:
    [run_id] = served.submit()
    first = poller.begin(2, max_runs=0, wait_ms=LONG_MS)
    poller.until_waiting()
    assert not first.done()
    second = poller.poll(2, max_runs=1, wait_ms=LONG_MS)
    assert [chunk.run_ids for chunk in second.chunks] == [run_id]
    assert answer(first) == second


def test_a_repeat_may_shorten_the_wait(poller: Poller) -> None:
    first = poller.begin(2, wait_ms=LONG_MS)
    poller.until_waiting()
    started = time.monotonic()
    assert poller.poll(2, wait_ms=0) == answer(first) == pb.PollResponse()
    assert time.monotonic() - started < LONG_MS / 2000


@pytest.mark.parametrize("hello", [False, True])
def test_what_follows_ends_the_call_that_waits_with_nothing(served: Any, poller: Poller, hello: bool) -> None:
    first = poller.begin(2, wait_ms=LONG_MS)
    poller.until_waiting()
    fields: dict[str, Any] = {"hello": poller.hello()} if hello else {}
    second = poller.begin(3, wait_ms=LONG_MS, **fields)
    assert answer(first) == pb.PollResponse()
    [run_id] = served.submit()
    if hello:
        assert answer(second).HasField("welcome")
        assert poller.take(4)[1] == run_id
    else:
        assert answer(second).chunks[0].run_ids == run_id


def test_an_assignment_ends_the_wait_at_once(served: Any, poller: Poller) -> None:
    waiting = poller.begin(2, wait_ms=LONG_MS)
    poller.until_waiting()
    started = time.monotonic()
    [run_id] = served.submit()
    assert [chunk.run_ids for chunk in answer(waiting).chunks] == [run_id]
    assert time.monotonic() - started < LONG_MS / 2000


def test_an_empty_wait_ends_when_it_was_told_to(poller: Poller) -> None:
    started = time.monotonic()
    assert poller.poll(2, wait_ms=300) == pb.PollResponse()
    assert 0.3 <= time.monotonic() - started < 5


def test_a_wait_ends_before_the_deadline_of_the_call(poller: Poller) -> None:
    assert poller.poll(2, wait_ms=60_000, timeout=1) == pb.PollResponse()


def test_a_wait_ends_before_the_lease(serve: Callable[..., Any]) -> None:
    poller = Poller(serve(lease=SHORT_LEASE))
    poller.greet()
    started = time.monotonic()
    assert poller.poll(2, wait_ms=60_000) == pb.PollResponse()
    assert time.monotonic() - started < 1.5
    assert poller.poll(3) == pb.PollResponse()


def test_a_lost_acknowledgement_is_repeated(served: Any, poller: Poller) -> None:
    [run_id] = served.submit()
    epoch, _ = poller.take(2)
    logs = {"run_ids": [run_id], "at_us": [1], "levels": [20], "loggers": ["log"], "messages": ["once"]}
    batch: dict[str, Any] = {"logs": {**logs, "run_names": [""]}}
    assert poller.report(1, completed(epoch, run_id), **batch) == 1
    assert served.get(run_id, include_result=True).result.data == b"done"  # acknowledged is durable
    assert poller.report(1, completed(epoch, run_id, b"other"), **batch) == 1
    assert served.get(run_id, include_result=True).result.data == b"done"
    listed = served.runs.ListRunLogs(run_service_pb2.ListRunLogsRequest(run_id=run_id), timeout=10)
    assert list(listed.logs.messages) == ["once"]


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
    assert (run.result.data, run.infra_retries) == (b"in time", 1)


def test_a_cancellation_reaches_an_agent_that_waits(served: Any, poller: Poller) -> None:
    [run_id] = served.submit()
    epoch, _ = poller.take(2)
    waiting = poller.begin(3, wait_ms=LONG_MS)
    served.runs.CancelRun(run_service_pb2.CancelRunRequest(run_id=run_id), timeout=10)
    key = pb.RunKey(run_id=run_id, epoch=epoch)
    assert list(answer(waiting).cancel) == [key]
    assert list(poller.poll(3, wait_ms=LONG_MS).cancel) == [key]
    poller.report(1, cancelled=[key])
    assert served.get(run_id).state == RunState.CANCELLED


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


def test_another_process_takes_over(served: Any, poller: Poller) -> None:
    [run_id] = served.submit()
    poller.take(2)
    waiting = poller.begin(3, wait_ms=LONG_MS)
    poller.until_waiting()
    newer = Poller(served)
    newer.greet()
    for call in (lambda: answer(waiting), lambda: poller.poll(3), lambda: poller.report(1)):
        with pytest.raises(Superseded):
            call()
    assert newer.take(2)[1] == run_id


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
    assert list(next(stream).welcome.adopt) == [key]
    with pytest.raises(Superseded):
        poller.poll(3)
    assert list(poller.greet(3, held=[key]).welcome.adopt) == [key]
    with pytest.raises(grpc.RpcError) as caught:
        next(stream)
    end.set()
    assert isinstance(from_rpc_error(caught.value), Superseded)  # type: ignore[arg-type]
    assert poller.report(1, completed(epoch, run_id)) == 1
    assert served.get(run_id).state == RunState.COMPLETED


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"number": 0}, InvalidRequest),
        ({"number": 1}, InvalidRequest),
        ({"number": 4}, InvalidRequest),
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


def test_a_session_belongs_to_one_agent(served: Any, poller: Poller) -> None:
    other = Poller(served, "other", session_id=poller.ids["session_id"])
    with pytest.raises(InvalidRequest, match="another agent"):
        other.greet(2)
    assert poller.poll(2) == pb.PollResponse()


def test_malformed_reports_are_refused_and_the_session_goes_on(served: Any, poller: Poller) -> None:
    [run_id] = served.submit()
    epoch, _ = poller.take(2)
    with pytest.raises(InvalidRequest, match="number"):
        poller.report(0, completed(epoch, run_id))
    with pytest.raises(InvalidRequest, match="agent id"):
        poller.report(1, completed(epoch, run_id), agent_id="")
    with pytest.raises(InvalidRequest, match="ReportColumns"):
        poller.report(1, pb.ReportChunk(first_epoch=epoch, run_ids=run_id, columns=b"\xff\xff"))
    with pytest.raises(InvalidRequest, match="out of turn"):
        poller.report(3, completed(epoch, run_id))
    assert served.get(run_id).state == RunState.ASSIGNED
    assert poller.report(2, completed(epoch, run_id)) == 2
    assert served.get(run_id).state == RunState.COMPLETED


def test_a_stopping_server_says_when_to_come_back(
    serve: Callable[..., Any], run_on_loop: Callable[..., Any]
) -> None:
    served = serve(stop_grace_seconds=10)
    poller = Poller(served)
    poller.greet()
    waiting = poller.begin(2, wait_ms=LONG_MS)
    poller.until_waiting()
    started = time.monotonic()
    run_on_loop(served.plane.stop())
    assert answer(waiting).reconnect_after_ms > 0
    assert time.monotonic() - started < 5


def test_reports_are_acknowledged_when_the_database_answers_again(
    served: Any, poller: Poller, monkeypatch: pytest.MonkeyPatch
) -> None:
    [run_id] = served.submit()
    epoch, _ = poller.take(2)
    store = served.plane.owner._shard.store

    def refuse(batch: Any) -> Any:
        raise StorageUnavailable("out of order")

    with monkeypatch.context() as patch:
        patch.setattr(store, "commit", refuse)
        with pytest.raises(StorageUnavailable) as caught:
            poller.report(1, completed(epoch, run_id), timeout=1)
        assert caught.value.retry_after > 0
        assert poller.poll(3, draining=True) == pb.PollResponse()
    assert poller.report(1, completed(epoch, run_id)) == 1
    assert poller.poll(4, draining=True) == pb.PollResponse(drained=True, reported_up_to=1)
    assert served.get(run_id, include_result=True).result.data == b"done"


def test_the_ids_of_a_chunk_belong_to_consecutive_epochs(served: Any, poller: Poller) -> None:
    ids = served.submit(3)
    [chunk] = poller.poll(2, max_runs=3, chunk_size=3).chunks
    assert list(split_ids(chunk.run_ids)) == ids
    reports = [completed(chunk.first_epoch + at, run_id) for at, run_id in enumerate(ids)]
    assert poller.report(1, *reports) == 1
    assert {served.get(run_id).state for run_id in ids} == {RunState.COMPLETED}
