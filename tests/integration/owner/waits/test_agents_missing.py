"""Reasons that lie with agents: there is none, none is able, or those that are take no work."""

from collections.abc import Callable
from typing import Any

import pytest
from support.explained import Asker
from support.owner_harness import CALLER, World, assigned

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_api.v1 import template_pb2 as tp
from taskyard_contract.states import RunState as S
from taskyard_contract.states import WaitReason as W

Ask = Callable[..., None]


def test_no_agent_at_all(ask: Ask) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        client = it.client()
        [run_id] = await client.submit()
        await it.settle()
        wait = await asker.wait(run_id, W.NO_AGENT, "no agent is connected")
        assert dict(wait.missing) == {"queue": "default"}
        assert await asker.line(run_id) == "task-0 waits: no agent is connected"

    ask(scenario)


LACKS: list[tuple[W, dict[str, Any], str, dict[str, str]]] = [
    (W.NO_AGENT_FOR_QUEUE, {"queue": "gpu"}, "no agent serves queue 'gpu'", {"queue": "gpu"}),
    (
        W.NO_AGENT_LOADS_CODE,
        {"code": tp.Code(reference="a:b")},
        "no agent loads its kind of code (code/reference)",
        {"code": "code/reference"},
    ),
    (
        W.NO_AGENT_KNOWS_ENCODING,
        {"encoding": "json/plain", "result_encoding": "binary/plain"},
        "no agent knows its encodings (json/plain, binary/plain)",
        {"encoding": "json/plain", "result_encoding": "binary/plain"},
    ),
    (
        W.NO_AGENT_HAS_LABELS,
        {"agent_labels": {"gpu": "a100", "zone": "b"}},
        "no agent is labelled gpu=a100, zone=b",
        {"label gpu": "a100", "label zone": "b"},
    ),
    (
        W.NO_AGENT_HAS_PYTHON,
        {"python_version": "3.13"},
        "no agent runs Python 3.13",
        {"python": "3.13"},
    ),
    (
        W.NO_AGENT_HAS_ENVIRONMENT,
        {"environment": "blue"},
        "no agent has the environment 'blue'",
        {"environment": "blue"},
    ),
]


@pytest.mark.parametrize(("reason", "template", "text", "facts"), LACKS, ids=[one[0].name for one in LACKS])
def test_no_agent_is_able(
    ask: Ask, reason: W, template: dict[str, Any], text: str, facts: dict[str, str]
) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        client = it.client()
        it.agent(capabilities=("code/blob", "python/pickle5", "interpreter/python3.12"), credit=100)
        [run_id] = await client.submit(**template)
        await it.settle()
        wait = await asker.wait(run_id, reason, text)
        assert dict(wait.missing) == facts
        assert wait.queue == template.get("queue", "default")
        assert await asker.line(run_id) == f"task-0 waits: {text}"

    ask(scenario)


def test_no_agent_has_registered_the_task(ask: Ask) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        client = it.client()
        hello = ap.AgentHello(
            protocol_min=2, protocol_max=2, agent_id="a", session_id=b"s" * 16, name="a", queues=["default"],
            slots=1, tasks=[ap.TaskOffer(name="image.crop")],
        )  # fmt: skip
        closed: list[object] = []
        it.owner.connections.agents.open(hello, CALLER, lambda: None, closed.append)
        [run_id] = await client.submit(code=tp.Code(task_name="image.resize"), name="resize")
        await it.settle()
        wait = await asker.wait(run_id, W.NO_AGENT_HAS_TASK, "no agent has registered a task 'image.resize'")
        assert dict(wait.missing) == {"task": "image.resize"}
        assert await asker.line(run_id) == "resize-0 waits: no agent has registered a task 'image.resize'"

    ask(scenario)


def test_the_agent_takes_no_work(ask: Ask) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        client, agent = it.client(), it.agent("big", credit=0)
        agent.send(condition="no room on the disk of /data: 1 MB is free")
        [run_id] = await client.submit()
        await it.settle()
        text = "agent 'big' takes no work: no room on the disk of /data: 1 MB is free"
        wait = await asker.wait(run_id, W.AGENT_CONDITION, text)
        assert (wait.agent_name, wait.agent_condition) == (
            "big",
            "no room on the disk of /data: 1 MB is free",
        )
        assert await asker.line(run_id) == f"task-0 waits: {text}"

    ask(scenario)


def test_the_agent_drains(ask: Ask) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        client, agent = it.client(), it.agent("old")
        agent.send(draining=True)
        [run_id] = await client.submit()
        await it.settle()
        text = "agent 'old' drains and takes no more work"
        assert (await asker.wait(run_id, W.AGENT_DRAINING, text)).agent_name == "old"
        assert await asker.line(run_id) == f"task-0 waits: {text}"

    ask(scenario)


def test_the_agent_is_away_for_a_moment(ask: Ask) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        client, agent = it.client(), it.agent("far")
        [held] = await client.submit()
        await assigned(it, agent)
        agent.disconnect()
        [run_id] = await client.submit()
        await it.settle()
        text = "agent 'far' is not connected at the moment"
        assert (await asker.wait(run_id, W.AGENT_AWAY, text)).agent_name == "far"
        text = "agent 'far' has it and is not connected; others get it when the lease of that has lapsed"
        await asker.wait(held, W.AGENT_AWAY, text)
        assert await asker.line(held) == f"task-0 waits: {text}"

    ask(scenario)


def test_the_agent_did_not_receive_what_it_was_sent(ask: Ask) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        client, agent = it.client(), it.agent("deaf")
        await client.submit()
        await it.settle()  # assigned, and lost with the stream
        agent.disconnect()
        it.agent("deaf", session_id=agent.session_id)
        await it.advance(2)
        [run_id] = await client.submit()
        await it.settle()
        text = "agent 'deaf' did not receive what it was sent last, and is sent nothing for a moment"
        await asker.wait(run_id, W.AGENT_AWAY, text)

    ask(scenario)


def test_the_agent_starts_only_what_others_wait_for(ask: Ask) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        client, agent = it.client(), it.agent("deep", credit=0)
        agent.send(credit=ap.Credit(granted_total=5, chunk_size=1, nested_only=True))
        [run_id] = await client.submit()
        await it.settle()
        text = "agent 'deep' starts only runs that others wait for: many wait there for runs of their own"
        assert (await asker.wait(run_id, W.AGENT_NESTED_ONLY, text)).agent_name == "deep"
        assert await asker.line(run_id) == f"task-0 waits: {text}"

    ask(scenario)


def test_the_agent_gave_it_back(ask: Ask) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        client, agent = it.client(), it.agent("picky")
        [run_id] = await client.submit()
        await assigned(it, agent)
        agent.granted += 1
        agent.send(
            given_back=[agent.key(run_id)], credit=ap.Credit(granted_total=agent.granted, chunk_size=100)
        )
        await it.settle()
        text = "agent 'picky' gave it back, and gets it again after a moment"
        assert (await asker.wait(run_id, W.AGENT_DECLINED, text)).agent_name == "picky"
        assert await asker.line(run_id) == f"task-0 waits: {text}"
        await it.advance(1)
        assert agent.receive() == [run_id]
        assert (await asker.about(run_id))[0].state == S.ASSIGNED

    ask(scenario)


def test_the_program_with_its_variables_has_not_come_back(ask: Ask) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        client = it.client()
        it.agent()
        world = tp.World(id=b"w" * 16, revision=3, variables=["TOKEN"])
        [run_id] = await client.submit(world=world)
        await it.settle()
        text = "its program is not connected, and has variables that it needs"
        wait = await asker.wait(run_id, W.PROGRAM_AWAY, text)
        assert dict(wait.missing) == {"world": f"{(b'w' * 16).hex()}/3"}
        assert await asker.line(run_id) == f"task-0 waits: {text}"
        await client.send(worlds=[sp.ProgramWorld(id=b"w" * 16, revision=3, variables={"TOKEN": "x"})])
        await it.settle()
        assert (await asker.about(run_id))[0].state == S.ASSIGNED

    ask(scenario)


def test_who_has_the_task_needs_no_variables_of_its_program(ask: Ask) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        client, busy = it.client(), it.agent(credit=0, serves=("jobs:send",))
        world = tp.World(id=b"w" * 16, revision=3, variables=["TOKEN"])
        [run_id] = await client.submit(world=world, served_as="jobs:send")
        await it.settle()
        assert W.PROGRAM_AWAY not in {W(each.reason) for each in await asker.waits(run_id)}
        busy.send(credit=ap.Credit(granted_total=1, chunk_size=1))
        await it.settle()
        assert busy.receive() == [run_id]

    ask(scenario)
