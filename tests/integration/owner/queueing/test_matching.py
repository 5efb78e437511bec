"""Agents get only what they announced that they can execute, and nobody waits for what others cannot do."""

import sqlite3
from pathlib import Path

import pytest
from support.owner_harness import World, assigned, kill_and_restart, play

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_api.v1 import template_pb2
from taskyard_contract.capabilities import CODE_BY_NAME, CODE_BY_REFERENCE, CODE_BY_VALUE
from taskyard_contract.errors import InvalidRequest
from taskyard_contract.id_factory import new_ids
from taskyard_contract.states import RunState
from taskyard_controlplane.owner.journal.template_reading import read_template

JSON, PICKLE = "json/plain", "pickle/test"
BY_REFERENCE = {"code": template_pb2.Code(reference="module:function"), "encoding": JSON}
BY_VALUE = {"code": template_pb2.Code(blob_digest=b"d" * 32), "encoding": PICKLE}
BY_NAME = {"code": template_pb2.Code(task_name="task"), "encoding": JSON}
READS_JSON = (CODE_BY_REFERENCE, JSON)
PYTHON = (CODE_BY_VALUE, CODE_BY_REFERENCE, PICKLE, JSON)


async def execute_all(it: World, *agents: "ap.AgentHello | object") -> list[bytes]:
    """Let agents execute until there is nothing more for them; returns what they did, in order."""
    done: list[bytes] = []
    while True:
        new = [(agent, run_id) for agent in agents for run_id in await assigned(it, agent)]  # type: ignore[arg-type]
        if not new:
            return done
        for agent, run_id in new:
            agent.report([run_id])  # type: ignore[attr-defined]
            done.append(run_id)


def test_an_agent_that_knows_json_by_reference_beside_one_that_knows_pickles() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        plain, pickled = [], []
        for _ in range(4):
            plain += await client.submit(**BY_REFERENCE)
            pickled += await client.submit(**BY_VALUE)
        await it.settle()
        small = it.agent("small", credit=3, capabilities=READS_JSON)
        large = it.agent("large", capabilities=PYTHON)
        got = {"small": small.receive(), "large": large.receive()}
        assert got == {"small": plain[:3], "large": [*pickled, plain[3]]}

    play(scenario)


@pytest.mark.parametrize(
    ("template", "able"),
    [(BY_REFERENCE, READS_JSON), (BY_VALUE, (CODE_BY_VALUE, PICKLE)), (BY_NAME, (CODE_BY_NAME, JSON))],
)
def test_what_no_agent_can_execute_waits_for_one_that_can(
    template: dict[str, object], able: tuple[str, ...]
) -> None:
    async def scenario(it: World) -> None:
        unable = [
            it.agent("code", capabilities=("code/other", *able[1:])),
            it.agent("encoding", capabilities=(able[0], "other/encoding")),
        ]
        client = it.client()
        ids = await client.submit(3, **template)
        await it.settle()
        assert [agent.receive() for agent in unable] == [[], []]
        live = it.owner.state_of(ids[0])
        assert live is not None
        assert live.state == RunState.READY
        assert await execute_all(it, it.agent("able", capabilities=able)) == ids

    play(scenario)


def test_agents_that_announce_nothing_get_everything_as_ever() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        ids = [run_id for kind in (BY_VALUE, BY_REFERENCE, BY_NAME) for run_id in await client.submit(**kind)]
        ids += await client.submit(encoding="")  # without code: the agent says that there is none
        assert await execute_all(it, agent) == ids

    play(scenario)


def test_what_asks_for_labels_waits_for_an_agent_that_has_them_all() -> None:
    async def scenario(it: World) -> None:
        without = it.agent("without")
        other = it.agent("other", labels={"gpu": "h100", "zone": "a"})
        client = it.client()
        picky = await client.submit(3, agent_labels={"gpu": "a100", "zone": "a"})
        easy = await client.submit(2)
        await it.settle()
        assert sorted(without.receive() + other.receive()) == sorted(easy)
        able = it.agent("able", labels={"gpu": "a100", "zone": "a", "disk": "fast"})
        assert await execute_all(it, able) == picky

    play(scenario)


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ({"a": "b" * 1024}, "'task' asks for labels of 1,025 bytes; at most 1,024 are taken"),
        ({"a": "b\x00"}, r"'task' asks for agents with a label that is no text: 'b\\x00'"),
    ],
)
def test_labels_that_cannot_be_kept_are_refused(labels: dict[str, str], text: str) -> None:
    message = template_pb2.RunTemplate(kind=1, name="task", queue="q", agent_labels=labels)
    with pytest.raises(InvalidRequest, match=text):
        read_template(1, b"", message.SerializeToString())


def test_a_template_without_code_goes_to_anybody_who_knows_its_encoding() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(capabilities=READS_JSON)
        ids = await client.submit(encoding=JSON)
        assert await assigned(it, agent) == ids

    play(scenario)


def test_the_head_of_a_lane_does_not_block_it() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(credit=1, chunk=1, capabilities=READS_JSON)
        await client.submit(5, priority=-5, **BY_VALUE)
        await client.submit(5, **BY_VALUE)
        ids = await client.submit(5, **BY_REFERENCE)
        assert await execute_all(it, agent) == ids

    play(scenario)


def test_a_window_full_of_what_nobody_can_execute_hides_nothing() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(credit=1, chunk=1, capabilities=READS_JSON)
        agent.granted = 0
        agent.send(credit=ap.Credit(granted_total=0, chunk_size=1))
        stuck, ids = [], []
        for _ in range(10):
            stuck += await client.submit(3, **BY_VALUE)
            ids += await client.submit(3, **BY_REFERENCE)
        await it.settle()
        assert it.owner.backlog_count() > 40, "both kinds left the memory"
        agent.granted = 1
        agent.send(credit=ap.Credit(granted_total=1, chunk_size=1))
        assert await execute_all(it, agent) == ids
        assert it.owner.open_count() <= 4 + len(agent.agent.held)
        assert await execute_all(it, it.agent("able", credit=2, chunk=2, capabilities=PYTHON)) == stuck

    play(scenario, window=4)


def test_a_restart_keeps_needs_apart_in_the_backlog(tmp_path: Path) -> None:
    ids: dict[str, list[bytes]] = {"stuck": [], "plain": []}

    async def before(it: World) -> None:
        client = it.client()
        for _ in range(5):
            ids["stuck"] += await client.submit(2, **BY_VALUE)
            ids["plain"] += await client.submit(2, **BY_REFERENCE)
        await it.settle()

    async def after(it: World) -> None:
        assert it.owner.backlog_count() == 0  # runs of a small window all came back with the restart
        assert await execute_all(it, it.agent(capabilities=READS_JSON)) == ids["plain"]

    kill_and_restart(tmp_path, before, after)


def as_an_earlier_release_wrote_it(path: Path) -> None:
    """Name lanes of the backlog by their queues alone."""
    with sqlite3.connect(path / "yard.db") as database:
        count = database.execute("UPDATE backlog SET queue = 'default'").rowcount
    database.close()
    assert count > 20


def test_the_backlog_of_an_earlier_release_is_finished_in_order(tmp_path: Path) -> None:
    ids: list[bytes] = []

    async def before(it: World) -> None:
        client = it.client()
        for _ in range(15):
            ids.extend(await client.submit(1, **BY_VALUE))
            ids.extend(await client.submit(1, **BY_REFERENCE))
        await it.settle()

    async def after(it: World) -> None:
        client = it.client()
        ids.extend(await client.submit(2, **BY_REFERENCE))  # does not overtake
        ids.extend(await client.submit(2, **BY_VALUE))
        await it.settle()
        assert it.owner.open_count() <= 20
        assert await execute_all(it, it.agent(credit=1, chunk=1, capabilities=PYTHON)) == ids
        assert it.owner.backlog_count() == 0

    kill_and_restart(
        tmp_path, before, after, window=4, meanwhile=lambda: as_an_earlier_release_wrote_it(tmp_path)
    )


def test_who_can_do_both_is_fed_by_priority_and_in_order_of_submission() -> None:
    async def scenario(it: World) -> None:
        client, expected = it.client(), {}
        for priority in (1, 0):
            expected[priority] = [
                run_id
                for kind in (BY_VALUE, BY_REFERENCE, BY_VALUE)
                for run_id in await client.submit(2, priority=priority, **kind)
            ]
        await it.settle()
        agent = it.agent(credit=1, chunk=1, capabilities=PYTHON)
        assert await execute_all(it, agent) == expected[0] + expected[1]

    play(scenario)


@pytest.mark.parametrize("nested_only", [False, True])
def test_what_a_run_waits_for_comes_first_whatever_it_needs(nested_only: bool) -> None:
    async def scenario(it: World) -> None:
        client, small = it.client(), it.agent("small", credit=1, capabilities=READS_JSON)
        [caller] = await client.submit(**BY_REFERENCE)
        await assigned(it, small)
        agent = it.agent("large", credit=0, capabilities=PYTHON)
        [new] = await client.submit(**BY_VALUE)
        nested = [
            await inside(client, at, caller, kind) for at, kind in enumerate((BY_REFERENCE, BY_VALUE), 7)
        ]
        await it.settle()
        agent.send(credit=ap.Credit(granted_total=9, chunk_size=1, nested_only=nested_only))
        got = await assigned(it, agent)
        assert got == [*reversed(nested), *([] if nested_only else [new])]

    play(scenario)


async def inside(client: object, number: int, caller: bytes, kind: dict[str, object]) -> bytes:
    """Submit a run from inside another one."""
    [run_id] = new_ids(1)
    template = template_pb2.RunTemplate(kind=1, name="nested", queue="default", **kind)  # type: ignore[arg-type]
    batch = sp.SubmitBatch(
        number=number,
        templates=[template_pb2.TemplateDefinition(index=number, template=template)],
        groups=[sp.RunGroup(template=number, run_ids=[run_id], args=[b""], caller_run_id=caller)],
    )
    await client.send(submit=batch)  # type: ignore[attr-defined]
    return run_id


def test_families_that_an_agent_cannot_serve_are_kept_for_another() -> None:
    async def scenario(it: World) -> None:
        client, small = it.client(), it.agent("small", credit=50, capabilities=READS_JSON)
        callers = await client.submit(3, **BY_REFERENCE)
        await assigned(it, small)
        nested = [await inside(client, at, caller, BY_VALUE) for at, caller in enumerate(callers, 7)]
        plain = await client.submit(2, **BY_REFERENCE)
        assert await assigned(it, small) == plain
        assert await assigned(it, it.agent("large", capabilities=PYTHON)) == nested[::-1]

    play(scenario)


def test_an_agent_that_comes_back_knows_what_was_opened_meanwhile() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(capabilities=READS_JSON)
        agent.disconnect()
        ids = await client.submit(2, **BY_REFERENCE)
        await it.settle()
        again = it.agent(session_id=agent.session_id, capabilities=READS_JSON)
        assert await assigned(it, again) == ids

    play(scenario)
