"""Templates are in memory while somebody needs them, and are read back when somebody does again."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from support.owner_harness import World, assigned, kill_and_restart, play

from taskyard_api.v1 import errors_pb2
from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_api.v1.template_pb2 import RunTemplate
from taskyard_contract.errors import InvalidRequest, Overloaded
from taskyard_contract.id_factory import new_id
from taskyard_contract.states import RunState
from taskyard_controlplane.domain.memory import MemoryLimits
from taskyard_controlplane.owner.journal import templates
from taskyard_controlplane.owner.queueing import submission
from taskyard_controlplane.owner.serving.owner import MAINTAIN_SECONDS

COUNT = 30


@pytest.fixture
def none_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is kept that no run needs."""
    monkeypatch.setattr(templates, "AT_HAND_BYTES", 0)


def _template(name: str) -> RunTemplate:
    return RunTemplate(kind=1, name=name, queue="default", encoding="json/plain")  # type: ignore[arg-type]


def _batch(number: int, *names: str, runs: bool = False) -> sp.SubmitBatch:
    batch = sp.SubmitBatch(number=number)
    for index, name in enumerate(names, start=1):
        batch.templates.add(index=index).template.MergeFrom(_template(name))
        if runs:
            batch.groups.add(template=index, run_ids=[new_id()], args=[b""])
    return batch


async def _stored(it: World) -> list[Any]:
    return await it.ask(lambda: it.store.templates(range(1000)))


@pytest.mark.usefixtures("none_at_hand")
def test_a_template_that_no_run_needs_leaves_memory() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        for number in range(COUNT):
            await client.submit(name=f"task {number}")
        taken = await assigned(it, agent)
        assert it.shard.templates.in_memory == COUNT
        agent.report(taken)
        await it.settle()
        assert it.shard.templates.in_memory == 0
        assert len(await _stored(it)) == COUNT

    play(scenario)


@pytest.mark.usefixtures("none_at_hand")
def test_templates_of_cancelled_runs_leave_memory_though_nobody_serves_their_queues() -> None:
    async def scenario(it: World) -> None:
        client, ready = it.client(), it.shard.dispatcher.ready
        await client.submit(name="other", queue="left alone")
        ids = []
        for number in range(COUNT):
            ids += await client.submit(name=f"task {number}", queue=f"queue {number % 7}")
        await it.settle()
        ready._many = 3
        await client.send(cancel=ids)
        await it.advance(MAINTAIN_SECONDS)
        assert it.shard.templates.in_memory == 1
        assert [need.queue for need in ready.queues] == ["left alone"]
        [run_id] = await client.submit(name="task 1", queue="queue 1")
        agent = it.agent(queues=("queue 1", "left alone"))
        assert run_id in await assigned(it, agent)

    play(scenario)


@pytest.mark.usefixtures("none_at_hand")
def test_templates_that_were_never_used_leave_memory_with_their_commit() -> None:
    async def scenario(it: World) -> None:
        await it.client().send(submit=_batch(1, *map(str, range(COUNT))))
        assert it.shard.templates.in_memory == COUNT, "nobody could read them back yet"
        await it.settle()
        assert it.shard.templates.in_memory == 0

    play(scenario)


@pytest.mark.usefixtures("none_at_hand")
def test_a_template_is_read_back_for_whoever_names_or_sends_it_again() -> None:
    async def scenario(it: World) -> None:
        client, other, agent = it.client(), it.client(), it.agent()
        await client.submit(name="known")
        agent.report(await assigned(it, agent))
        await it.settle()
        assert it.shard.templates.in_memory == 0
        ids = [new_id(), *await other.submit(name="known")]
        group = sp.RunGroup(template=1, run_ids=ids[:1], args=[b""])
        await client.send(submit=sp.SubmitBatch(number=2, groups=[group]))
        assert sorted(await assigned(it, agent)) == sorted(ids)
        assert len(await _stored(it)) == 1
        agent.report(ids)
        await it.settle()
        assert [client.state_of(ids[0]), other.state_of(ids[1])] == [RunState.COMPLETED] * 2

    play(scenario)


@pytest.mark.usefixtures("none_at_hand")
def test_a_template_that_another_client_records_while_one_is_read_back_is_recorded_once() -> None:
    async def scenario(it: World) -> None:
        slow, quick = it.client(), it.client()
        await quick.send(submit=_batch(1, "old"))
        await it.settle()
        await it.ask(lambda: None)  # so that a commit has its turn before the next question
        await asyncio.gather(
            slow.send(submit=_batch(1, "old", "new", runs=True)),
            quick.send(submit=_batch(2, "new")),
        )
        await it.settle()
        known = {row.template_id for row in await _stored(it)}
        assert len(known) == 2
        assert {run.template.template_id for run in it.runs.values()} == known

    play(scenario)


def test_only_some_are_kept_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "AT_HAND_BYTES", 5 * templates.RECORD_BYTES)

    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        for number in range(COUNT):
            await client.submit(name=f"task {number}")
            agent.report(await assigned(it, agent))
        await it.settle()
        assert 0 < it.shard.templates.in_memory <= 5

    play(scenario)


@pytest.mark.usefixtures("none_at_hand")
def test_after_a_restart_only_those_of_open_runs_are_in_memory(tmp_path: Path) -> None:
    left: list[bytes] = []

    async def before(it: World) -> None:
        client, agent = it.client(), it.agent()
        for number in range(COUNT):
            await client.submit(name=f"task {number}")
            agent.report(await assigned(it, agent))
        left.extend(await client.submit(name="task 7"))
        await it.settle()

    async def after(it: World) -> None:
        assert it.shard.templates.in_memory == 1
        assert it.runs[left[0]].template.name == "task 7"
        await it.client().submit(name="new")
        await it.settle()
        assert len(await _stored(it)) == COUNT + 1

    kill_and_restart(tmp_path, before, after)


@pytest.mark.usefixtures("none_at_hand")
def test_runs_in_the_backlog_come_back_with_their_templates(tmp_path: Path) -> None:
    ids: list[bytes] = []

    async def before(it: World) -> None:
        client = it.client()
        for number in range(COUNT):
            ids.extend(await client.submit(name=f"task {number}"))
        await it.settle()
        assert it.shard.templates.in_memory < COUNT

    async def after(it: World) -> None:
        agent = it.agent()
        seen: list[bytes] = []
        while new := await assigned(it, agent):
            seen += new
            agent.report(new)
        assert sorted(seen) == sorted(ids)
        await it.settle()
        assert it.shard.templates.in_memory == 0

    kill_and_restart(tmp_path, before, after, window=5)


@pytest.mark.usefixtures("none_at_hand")
def test_a_run_of_the_backlog_can_be_cancelled_without_its_template_in_memory(tmp_path: Path) -> None:
    ids: list[bytes] = []

    async def before(it: World) -> None:
        client = it.client()
        for number in range(COUNT):
            ids.extend(await client.submit(name=f"task {number}"))
        await it.settle()

    async def after(it: World) -> None:
        assert it.runs.get(ids[-1]) is None
        assert await it.owner.cancel(ids[-1]) == RunState.CANCELLED

    kill_and_restart(tmp_path, before, after, window=5)


@pytest.mark.usefixtures("none_at_hand")
def test_a_hit_in_the_cache_is_in_the_encoding_of_a_template_that_left_memory() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        await client.submit(name="first", encoding="one", cache_keys=["k"])
        agent.report(await assigned(it, agent), value=b"v")
        await it.settle()
        assert it.shard.templates.in_memory == 0
        [run_id] = await client.submit(name="second", encoding="two", cache_keys=["k"])
        await it.settle()
        client.receive()
        assert client.outcomes[run_id].result.encoding == "one"

    play(scenario)


@pytest.mark.usefixtures("none_at_hand")
def test_while_open_runs_have_too_many_templates_runs_of_new_ones_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(templates, "FAIR_BYTES", 2 * templates.RECORD_BYTES)

    async def scenario(it: World) -> None:
        client = it.client()
        for number in range(4):
            await client.submit(name=f"task {number}")
        await it.settle()
        [refused] = await client.submit(name="new")
        [known] = await it.client().submit(name="task 1")
        [of_another] = await it.client().submit(name="newer")
        await it.settle()
        client.receive()
        assert client.refused[refused].error.reason == errors_pb2.ERROR_REASON_OVERLOADED
        assert known in it.runs
        assert of_another in it.runs, "who has brought in few goes on"
        agent = it.agent()
        agent.report(await assigned(it, agent))
        await it.settle()
        [accepted] = await client.submit(name="new")
        await it.settle()
        assert accepted in it.runs

    play(scenario, memory=MemoryLimits(templates=3 * templates.RECORD_BYTES))


def test_a_client_that_sends_templates_without_end_is_told_to_connect_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(submission, "MAX_TEMPLATES", 3)

    async def scenario(it: World) -> None:
        client = it.client()
        for number in range(3):
            await client.submit(name=f"task {number}")
        with pytest.raises(Overloaded, match="connect again"):
            await client.submit(name="one more")
        await it.client(client.session.session_id).submit(name="one more")

    play(scenario)


@pytest.mark.usefixtures("none_at_hand")
def test_a_template_that_no_database_can_hold_is_refused_again_to_whoever_names_it() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        refused = [await client.submit(name="spoiled")]
        rows = it.shard.committer.open.rows
        rows.templates[:] = [(*row[:3], "\ud800") for row in rows.templates]
        await it.settle()
        group = sp.RunGroup(template=1, run_ids=[new_id()], args=[b""])
        await client.send(submit=sp.SubmitBatch(number=2, groups=[group]))
        await it.settle()
        refused.append(list(group.run_ids))
        client.receive()
        assert ["cannot be recorded" in client.refused[run_id].message for [run_id] in refused] == [True] * 2
        with pytest.raises(InvalidRequest, match="cannot be recorded"):
            await it.client().submit(name="spoiled")

    play(scenario)


@pytest.mark.parametrize(
    ("template", "text"),
    [({"tags": ["x" * 40_000]}, "a template has"), ({"retry": {"delays_ms": [1] * 2000}}, "2,000 delays")],
)
def test_a_template_beyond_all_measure_is_refused(template: Any, text: str) -> None:
    async def scenario(it: World) -> None:
        with pytest.raises(InvalidRequest, match=text):
            await it.client().submit(**template)

    play(scenario)
