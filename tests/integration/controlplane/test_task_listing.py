"""Tasks by name are found while an agent that has them is connected."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from support.poller import Poller, agents_of

from taskyard_api.v1 import admin_service_pb2 as admin
from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_contract.errors import InvalidRequest
from taskyard_contract.id_factory import new_id
from taskyard_contract.transport.rpc_errors import from_rpc_error

ADD = ap.TaskOffer(
    name="add",
    version="2",
    encodings=["json/plain"],
    parameter_schema="{}",
    result_schema="[]",
    description="Adds.",
)


class Streams:
    """Agents that only say hello; their streams stay open until `close`."""

    def __init__(self, served: Any) -> None:
        self._served = served
        self._calls: list[Any] = []

    def connect(self, name: str, tasks: list[ap.TaskOffer], **fields: Any) -> Any:
        usual = {"queues": ["default"], "protocol_min": 2, "protocol_max": 2, "session_id": new_id()}
        hello = ap.AgentHello(agent_id=f"id-{name}", name=name, tasks=tasks, **{**usual, **fields})
        call = self._served.agents.Connect(self._frames(hello), timeout=60)
        assert next(call).HasField("welcome")
        self._calls.append(call)
        return call

    def _frames(self, hello: ap.AgentHello) -> Iterator[ap.AgentFrame]:
        yield ap.AgentFrame(hello=hello)
        self._served.closing.wait(60)

    def close(self) -> None:
        self._served.closing.set()
        for call in self._calls:
            call.cancel()


@pytest.fixture
def streams(served: Any) -> Iterator[Streams]:
    served.closing = threading.Event()
    connected = Streams(served)
    yield connected
    connected.close()


def listed(served: Any, **fields: Any) -> list[admin.Task]:
    tasks, token = list[admin.Task](), ""
    while True:
        page = served.admin.ListTasks(admin.ListTasksRequest(page_token=token, **fields), timeout=20)
        tasks += page.tasks
        assert page.ByteSize() < 2 * 1024 * 1024
        token = page.next_page_token
        if not token:
            return tasks


def test_a_task_is_described_as_its_agents_do(served: Any, streams: Streams) -> None:
    streams.connect("b", [ADD], queues=["default", "gpu"])
    streams.connect(
        "a", [ADD, ap.TaskOffer(name="sub")], queues=["default"], capabilities=["x/y", "code/name"]
    )
    add, sub = listed(served)
    assert (add.name, add.version, list(add.encodings), add.description) == (
        "add",
        "2",
        ["json/plain"],
        "Adds.",
    )
    assert (add.parameter_schema, add.result_schema) == ("{}", "[]")
    assert (list(add.agents), list(add.queues)) == (["a", "b"], ["default", "gpu"])
    assert (sub.name, list(sub.agents), list(sub.encodings)) == ("sub", ["a"], ["x/y"])
    assert [task.name for task in listed(served, queue="gpu")] == ["add"]
    assert listed(served, queue="nobody") == []


def test_agents_that_describe_it_differently_are_listed_apart(served: Any, streams: Streams) -> None:
    streams.connect("old", [ap.TaskOffer(name="add", version="1")])
    streams.connect("new", [ap.TaskOffer(name="add", version="2")])
    assert [(task.version, list(task.agents)) for task in listed(served)] == [("1", ["old"]), ("2", ["new"])]


def test_an_agent_that_has_left_offers_nothing(served: Any, streams: Streams) -> None:
    call = streams.connect("a", [ADD])
    assert listed(served)
    call.cancel()
    deadline = time.monotonic() + 30
    while listed(served):
        assert time.monotonic() < deadline
    assert [agent.name for agent in agents_of(served)] == ["a"]  # whose lease goes on


def test_pages_are_cut_by_number_and_by_bytes(served: Any, streams: Streams) -> None:
    schema = "s" * 16 * 1024
    offers = [ap.TaskOffer(name=f"task-{number:03}", parameter_schema=schema) for number in range(200)]
    streams.connect("a", offers)
    names = [offer.name for offer in offers]
    assert [task.name for task in listed(served, page_size=1_000)] == names
    first = served.admin.ListTasks(admin.ListTasksRequest(page_size=1_000), timeout=20)
    assert 60 < len(first.tasks) < 70
    assert [task.name for task in listed(served, page_size=7)] == names


def test_a_page_token_is_for_one_queue(served: Any, streams: Streams) -> None:
    streams.connect("a", [ADD, ap.TaskOffer(name="sub")])
    token = served.admin.ListTasks(admin.ListTasksRequest(page_size=1), timeout=20).next_page_token
    request = admin.ListTasksRequest(page_size=1, page_token=token, queue="default")
    with pytest.raises(grpc.RpcError) as caught:
        served.admin.ListTasks(request, timeout=20)
    error = from_rpc_error(caught.value)  # type: ignore[arg-type]  # a call that failed has all of it
    assert isinstance(error, InvalidRequest)
    assert error.field == "page_token"


def test_what_an_agent_says_of_its_memory_is_shown(served: Any, agent: Any) -> None:
    agent.send(ap.AgentFrame(heartbeat=1, memory=ap.AgentMemory(used_bytes=5, total_bytes=9)))
    while next(agent.frames).heartbeat != 1:
        pass
    poller = Poller(served, "polling")
    hello = poller.hello(
        protocol_min=2, protocol_max=2, name="polling", capabilities=["json/plain", "environment/base"]
    )
    poller.poll(1, hello=hello, memory=ap.AgentMemory(used_bytes=1, total_bytes=2))

    def told() -> dict[str, tuple[int, int]]:
        return {each.name: (each.memory_used_bytes, each.memory_total_bytes) for each in agents_of(served)}

    assert told() == {"small": (5, 9), "polling": (1, 2)}
    poller.poll(2, memory=ap.AgentMemory(used_bytes=2, total_bytes=2))
    assert told() == {"small": (5, 9), "polling": (2, 2)}
    poller.poll(3)
    assert told()["polling"] == (2, 2)
    capabilities = {each.name: list(each.capabilities) for each in agents_of(served)}
    assert capabilities == {"small": [], "polling": ["json/plain", "environment/base"]}
