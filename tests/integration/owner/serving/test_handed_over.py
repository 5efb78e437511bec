"""Variables that programs hand over reach agents in memory only, and are waited for after a restart."""

import asyncio
from pathlib import Path

import pytest
from support.owner_harness import LEASES, Agent, World, kill_and_restart, play

from taskyard_api.v1 import run_service_pb2
from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_api.v1 import template_pb2 as tp
from taskyard_contract.errors import InvalidRequest
from taskyard_contract.id_factory import new_id
from taskyard_contract.payload_limits import MAX_VARIABLE_BYTES
from taskyard_contract.states import RunKind
from taskyard_controlplane.owner.peers.frame_limits import check_client_frame

ID = b"w" * 16
WORLD = tp.World(id=ID, revision=1, variables=["TOKEN"])
SECRET = {"TOKEN": "s3cret-value"}


def handed(**changes: object) -> sp.ProgramWorld:
    return sp.ProgramWorld(**{"id": ID, "revision": 1, "variables": SECRET, **changes})  # type: ignore[arg-type]


def sent_to(agent: Agent) -> list[dict[str, str]]:
    """What came with the templates of the chunks, after all has been received."""
    agent.receive()
    return [dict(agent.definitions[chunk.template].variables) for chunk in agent.chunks]


def everything_in(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.iterdir())


def test_agents_get_them_with_the_template_and_nobody_else() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        await client.send(worlds=[handed()])
        await client.submit(world=WORLD)
        await client.submit()
        await it.settle()
        assert sent_to(agent) == [SECRET, {}]

    play(scenario)


def test_nothing_of_them_is_in_the_database(tmp_path: Path) -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        await client.send(worlds=[handed()])
        await client.submit(world=WORLD)
        await it.settle()
        assert sent_to(agent) == [SECRET]
        stored = await asyncio.to_thread(everything_in, tmp_path)
        assert b"TOKEN" in stored, "its name is in the template"
        assert b"s3cret-value" not in stored

    play(scenario, f"sqlite:///{tmp_path / 'runs.db'}")


def test_after_a_restart_runs_wait_until_their_program_is_back(tmp_path: Path) -> None:
    session_id = new_id()
    runs: list[bytes] = []

    async def before(it: World) -> None:
        client = it.client(session_id)
        await client.send(worlds=[handed()])
        runs.extend(await client.submit(world=WORLD))
        await it.settle()

    async def after(it: World) -> None:
        agent = it.agent()
        await it.settle()
        assert sent_to(agent) == []
        live = it.owner.state_of(runs[0])
        assert live is not None
        assert "its program is not connected" in live.waits_for
        await it.client(session_id).send(worlds=[handed()])
        await it.settle()
        assert sent_to(agent) == [SECRET]

    kill_and_restart(tmp_path, before, after)


def test_runs_that_outlive_a_program_are_not_kept_waiting_for_it_for_ever(tmp_path: Path) -> None:
    async def before(it: World) -> None:
        template = tp.RunTemplate(
            kind=RunKind.TASK,  # type: ignore[arg-type]  # the enums are numerically equal
            name="task",
            queue="default",
            world=WORLD,
            code=tp.Code(task_name="task"),
            encoding="json/plain",
        )
        run = run_service_pb2.NewRun(run_id=new_id(), template=template)
        assert not await it.owner.submit_unowned([run], [])

    async def after(it: World) -> None:
        agent = it.agent()
        await it.settle()
        assert sent_to(agent) == []
        await it.advance_slowly(LEASES.session_lease + 1)
        assert sent_to(agent) == [{}], "its worker says what is missing"

    kill_and_restart(tmp_path, before, after)


def test_agents_are_told_when_a_program_ends() -> None:
    async def scenario(it: World) -> None:
        client, other, agent = it.client(), it.client(), it.agent()
        for each in (client, other):
            await each.send(worlds=[handed()])
        await client.send(goodbye=True)
        await it.settle()
        agent.receive()
        assert agent.ended_worlds == [], "there is another session of the same program"
        await other.send(goodbye=True)
        await it.settle()
        agent.receive()
        assert agent.ended_worlds == [ID]

    play(scenario)


def test_more_than_is_kept_is_refused_by_its_name() -> None:
    frame = sp.ClientFrame(worlds=[handed(), handed(variables={"A": "x" * MAX_VARIABLE_BYTES})])
    with pytest.raises(InvalidRequest, match="hand fewer variables over") as told:
        check_client_frame(frame)
    assert told.value.field == "worlds[1].variables"


def test_a_world_without_an_id_is_refused() -> None:
    async def scenario(it: World) -> None:
        with pytest.raises(InvalidRequest, match="has to have 16") as told:
            await it.client().send(worlds=[handed(id=b"short")])
        assert told.value.field == "worlds[0].id"

    play(scenario)
