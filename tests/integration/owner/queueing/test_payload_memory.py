"""Arguments and inputs of open runs are in memory up to a ceiling in bytes, and in the database beyond it."""

from pathlib import Path
from typing import Any

import pytest
from support.owner_harness import Agent, World, assigned, play

from taskyard_contract.states import ReportKind, RunState, StateReason, UpstreamKind
from taskyard_controlplane.domain.memory import MemoryLimits
from taskyard_controlplane.owner.journal.payload_ledger import OBJECT_BYTES
from taskyard_controlplane.owner.queueing import delivery
from taskyard_controlplane.owner.shard import recovery

S = RunState
ROOM = 3_000
LITTLE = MemoryLimits(payload=ROOM)


def args_of(agent: Agent, run_id: bytes) -> bytes:
    body, position = agent.bodies[run_id]
    return body.args[position]


def counted(it: World) -> int:
    return int(it.shard.book.ledger.total)


def in_memory(it: World) -> int:
    """Count what records really hold, of what is counted."""
    sizes = [len(run.args) for run in it.runs.values() if isinstance(run.args, bytes) and len(run.args) > 256]
    sizes += [
        len(payload)
        for run in it.runs.values()
        for _, *payloads in run.inputs or ()
        for payload in payloads
        if isinstance(payload, bytes) and len(payload) > 256
    ]
    return sum(sizes)


@pytest.mark.parametrize("waiting", [False, True])
def test_arguments_beyond_the_ceiling_are_only_in_the_database_until_they_are_sent(waiting: bool) -> None:
    args = [bytes([65 + number]) * 1_000 for number in range(10)]

    async def scenario(it: World) -> None:
        client = it.client()
        upstream = None
        if waiting:
            [first] = await client.submit(queue="first")
            upstream = [(position, first, UpstreamKind.ORDER) for position in range(10)]
        ids = await client.submit(10, args=args, upstream=upstream)
        await it.settle()
        assert counted(it) <= ROOM
        assert in_memory(it) <= ROOM
        if waiting:
            agent = it.agent("first", queues=("first",))
            agent.report(await assigned(it, agent))
        agent = it.agent()
        assert sorted(await assigned(it, agent)) == sorted(ids)
        assert [args_of(agent, run_id) for run_id in ids] == args
        assert counted(it) == in_memory(it) == 0  # nothing is kept for what an agent has
        agent.report(ids[:1], kind=ReportKind.FAILED)
        agent.send(given_back=[agent.key(ids[1])])
        await it.advance(0.2)  # nobody else wants it
        assert await assigned(it, agent) == [ids[1]]
        assert args_of(agent, ids[1]) == args[1]
        agent.report(ids[1:])
        await it.settle()
        assert not any(it.shard.kept().values())

    play(scenario, memory=LITTLE)


@pytest.mark.parametrize(
    "limits",
    [MemoryLimits(session_payload=ROOM), MemoryLimits(queue_payload=ROOM)],
    ids=["session", "queue"],
)
def test_a_session_and_a_queue_have_ceilings_of_their_own(limits: MemoryLimits) -> None:
    async def scenario(it: World) -> None:
        for client, queue in ((it.client(), "a"), (it.client(), "b")):
            await client.submit(5, args=[b"x" * 1_000] * 5, queue=queue)
        await it.settle()
        assert in_memory(it) == 2 * 2_000
        assert counted(it) <= 2 * ROOM

    play(scenario, memory=limits)


def test_what_was_counted_is_let_go_however_a_run_leaves() -> None:
    async def scenario(it: World) -> None:
        client, other = it.client(), it.client()
        each = 900 + OBJECT_BYTES
        one, *_ = await client.submit(3, args=[b"x" * 900] * 3)
        await it.settle()
        assert counted(it) == 3 * each
        await client.send(cancel=[one])
        await it.settle()
        assert counted(it) == 2 * each
        again = it.client(client.session.session_id)
        assert again.session.held_bytes == 2 * each
        again.disconnect()
        await it.advance_slowly(40)
        assert counted(it) == 0
        assert other.session.held_bytes == 0

    play(scenario, memory=LITTLE)


def test_large_results_wait_in_the_database_for_runs_that_need_more_than_they() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(queues=("first",))
        ups = await client.submit(10, queue="first")
        ids = await client.submit(
            2, upstream=[(position, up) for position in range(2) for up in ups], queue="second"
        )
        await assigned(it, agent)
        agent.report(ups, value=b"r" * 1_500)
        await it.settle()
        assert counted(it) <= ROOM
        assert in_memory(it) <= ROOM
        second = it.agent("second", queues=("second",))
        assert await assigned(it, second) == ids
        for run_id in ids:
            assert second.inputs_of(run_id) == dict.fromkeys(ups, b"r" * 1_500)
        assert len(second.chunks) == 1
        assert len(second.chunks[0].body) < 20_000  # each result is in it once
        assert counted(it) == in_memory(it) == 0

    play(scenario, memory=LITTLE)


def test_the_chunks_of_an_agent_that_reads_nothing_wait_in_the_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delivery, "UNSENT_BYTES", 2_000)
    monkeypatch.setattr(delivery, "LOAD_BYTES", 1_000)

    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(chunk=1)
        ids = await client.submit(20, args=[b"x" * 1_000] * 20)
        await it.settle()
        assert agent.agent.unsent_bytes <= 4_000
        assert it.shard.delivery.waiting
        got: list[bytes] = []
        while new := await assigned(it, agent):
            got += new
        assert sorted(got) == sorted(ids)
        assert not it.shard.delivery.waiting

    play(scenario, memory=LITTLE)


def test_a_restart_needs_no_more_memory_than_running_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "PAGE_RUNS", 3)
    url = f"sqlite:///{tmp_path}/taskyard.db"

    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(queues=("first",))
        done, first = await client.submit(2, queue="first")
        await assigned(it, agent)
        agent.report([done], value=b"r" * 2_000)
        edges = [(position, up) for position in range(20) for up in (done, first)]
        found["ids"] = await client.submit(20, args=[b"x" * 1_000] * 20, upstream=edges)
        await it.settle()
        found["session"] = client.session.session_id
        found["done"], found["first"] = done, first
        pages.clear()
        it.owner.abandon()

    async def recovered(it: World) -> None:
        assert max(pages) == 3  # runs held at a time, but for their records
        client, agent = it.client(found["session"]), it.agent("other", queues=("first",))
        assert counted(it) <= ROOM
        assert in_memory(it) <= ROOM
        await it.advance_slowly(31)
        await client.send(subscribe=[found["first"]])
        assert await assigned(it, agent) == [found["first"]]
        agent.report([found["first"]])
        worker = it.agent()
        assert sorted(await assigned(it, worker)) == sorted(found["ids"])
        for run_id in found["ids"]:
            assert args_of(worker, run_id) == b"x" * 1_000
            assert worker.inputs_of(run_id) == {found["done"]: b"r" * 2_000, found["first"]: b"result"}

    found: dict[str, Any] = {}
    pages: list[int] = []
    read = recovery._read_page

    def counting(*args: Any) -> recovery.Page:
        page = read(*args)
        pages.append(len(page.found.rows))
        return page

    monkeypatch.setattr(recovery, "_read_page", counting)
    play(scenario, url, memory=LITTLE)
    play(recovered, url, memory=LITTLE)


def test_a_run_whose_inputs_are_too_large_together_fails_before_the_last_one_is_there() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(credit=2)
        ups = await client.submit(3, queue="default")
        [reduce] = await client.submit(upstream=[(0, up) for up in ups], max_infra_retries=3)
        await assigned(it, agent)
        agent.report(ups[:2], value=b"r" * 600)
        await it.settle()
        outcome = client.outcomes.get(reduce) or (client.receive(), client.outcomes[reduce])[1]
        assert (outcome.state, outcome.reason) == (S.FAILED, StateReason.NONE)
        assert "more than 1,000 bytes together (1,200 so far)" in outcome.message

    play(scenario, memory=MemoryLimits(inputs=1_000))


def test_nothing_is_counted_for_a_run_that_ended_before_its_upstream_runs() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(queues=("first",))
        ups = await client.submit(3, queue="first")
        cancelled, not_ready = await client.submit(2, upstream=[(at, up) for at in (0, 1) for up in ups])
        await assigned(it, agent)
        await client.send(cancel=[cancelled])
        agent.report(ups[:1], value=b"r" * 500)
        agent.report(ups[1:2], kind=ReportKind.FAILED)
        await it.settle()
        agent.report(ups[2:], value=b"r" * 500)
        await it.settle()
        assert client.state_of(not_ready) == S.NOT_READY
        assert not any(it.shard.kept().values())

    play(scenario)
