"""Headers go along with a run to its worker, wherever it waits meanwhile."""

from pathlib import Path
from typing import Any

import pytest
from support.owner_harness import Agent, Client, World, assigned, kill_and_restart, play

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import common_pb2, run_service_pb2, states_pb2
from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_api.v1 import template_pb2 as tp
from taskyard_contract.errors import InvalidRequest
from taskyard_contract.id_factory import new_id, new_ids
from taskyard_controlplane.owner.journal.payload_ledger import OBJECT_BYTES
from taskyard_controlplane.owner.queueing.headers import MAX_HEADER_BYTES, pack_headers

TRACE = {"traceparent": "00-abc-def-01", "baggage": "ü=1"}


def template(**changes: Any) -> tp.RunTemplate:
    usual = {
        "kind": states_pb2.RUN_KIND_TASK, "name": "task", "queue": "default", "encoding": "json/plain",
        "code": tp.Code(task_name="task"),
    }  # fmt: skip
    return tp.RunTemplate(**{**usual, **changes})


async def submit(client: Client, count: int, headers: dict[str, str], **group: Any) -> list[bytes]:
    ids = new_ids(count)
    client.number += 1
    definition = tp.TemplateDefinition(index=1, template=template())
    groups = [sp.RunGroup(template=1, run_ids=ids, headers=headers, **group)]
    await client.send(submit=sp.SubmitBatch(number=client.number, templates=[definition], groups=groups))
    return ids


def headers_of(agent: Agent, run_id: bytes) -> dict[str, str]:
    """Return what the worker of a run is given."""
    body, position = agent.bodies[run_id]
    return {k: v for extra in body.extras if extra.position == position for k, v in extra.headers.items()}


@pytest.mark.parametrize("group", [{}, {"cache_keys": ["a", "", "c"]}, {"extras": [sp.RunExtra(name="n")]}])
def test_a_group_shares_its_headers(group: dict[str, Any]) -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        ids = await submit(client, 3, TRACE, **group)
        [other] = await submit(client, 1, {})
        await it.settle()
        await assigned(it, agent)
        assert [headers_of(agent, run_id) for run_id in ids] == [TRACE] * 3
        assert headers_of(agent, other) == {}

    play(scenario)


def test_what_has_no_headers_carries_nothing_for_it() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run_id] = await submit(client, 1, {})
        await assigned(it, agent)
        body, _ = agent.bodies[run_id]
        assert not body.extras

    play(scenario)


def test_they_are_kept_over_retries_and_in_the_backlog() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(credit=100, chunk=1)
        ids = await submit(client, 20, TRACE)
        seen: list[bytes] = []
        while new := await assigned(it, agent):
            for run_id in new:
                if run_id in seen:
                    agent.report([run_id])
                else:
                    agent.send(lost=[ap.LostRun(key=agent.key(run_id))])
            seen += new
        assert sorted(seen) == sorted(2 * ids)
        assert all(headers_of(agent, run_id) == TRACE for run_id in ids)

    play(scenario, window=4)


def test_another_server_passes_them_on(tmp_path: Path) -> None:
    known: dict[str, Any] = {}

    async def before(it: World) -> None:
        client = it.client()
        known["session"] = client.session.session_id
        known["ids"] = await submit(client, 2, TRACE)
        known["queued"] = await submit(client, 9, TRACE)
        await it.settle()

    async def after(it: World) -> None:
        it.client(known["session"])
        agent = it.agent()
        while new := await assigned(it, agent):
            agent.report(new)
        ids = known["ids"] + known["queued"]
        assert [headers_of(agent, run_id) for run_id in ids] == [TRACE] * 11

    kill_and_restart(tmp_path, before, after, window=4)


def new_run(headers: dict[str, str]) -> run_service_pb2.NewRun:
    args = common_pb2.Payload(data=b"1")
    return run_service_pb2.NewRun(run_id=new_id(), template=template(), args=args, headers=headers)


def test_runs_of_nobody_have_headers_of_their_own() -> None:
    async def scenario(it: World) -> None:
        runs = [new_run({"a": "1"}), new_run({}), new_run({"b": "2"})]
        assert await it.owner.submit_unowned(runs, []) == []
        agent = it.agent()
        await assigned(it, agent)
        assert [headers_of(agent, run.run_id) for run in runs] == [{"a": "1"}, {}, {"b": "2"}]

    play(scenario)


@pytest.mark.parametrize(
    ("good", "bad", "limit"),
    [
        ({"k": "v" * (MAX_HEADER_BYTES - 1)}, {"k": "v" * MAX_HEADER_BYTES}, MAX_HEADER_BYTES),
        ({"k" * MAX_HEADER_BYTES: ""}, {"k" * MAX_HEADER_BYTES: "v"}, MAX_HEADER_BYTES),
        ({"ü": "\n"}, {"a\n": "v"}, 0),
        ({"a": ""}, {"": "v"}, 0),
    ],
)
def test_they_are_short_and_have_names(good: dict[str, str], bad: dict[str, str], limit: int) -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        await submit(client, 1, good)
        assert await it.owner.submit_unowned([new_run(good)], []) == []
        with pytest.raises(InvalidRequest) as caught:
            await submit(client, 1, bad)
        assert (caught.value.field, caught.value.limit) == ("submit.groups.headers", limit)
        with pytest.raises(InvalidRequest) as caught:
            await it.owner.submit_unowned([new_run(good), new_run(bad)], [])
        assert (caught.value.field, caught.value.limit) == ("runs[1].headers", limit)
        assert len(it.runs) == 2

    play(scenario)


def test_their_bytes_are_counted_while_a_run_waits_and_no_longer(tmp_path: Path) -> None:
    """Once for the runs of a group, which share them, and for each run that has its own."""
    size = len(pack_headers(TRACE, "headers") or b"")
    args = 3 * (1 + OBJECT_BYTES)
    known: dict[str, Any] = {}

    async def before(it: World) -> None:
        client = it.client()
        known["session"] = client.session.session_id
        await submit(client, 4, TRACE)
        await submit(client, 4, {})
        await it.settle()
        assert size <= it.shard.book.ledger.total == client.session.held_bytes < size + 4
        assert await it.owner.submit_unowned([new_run(TRACE), new_run({}), new_run(TRACE)], []) == []
        assert 3 * size <= it.shard.book.ledger.total - args < 3 * size + 4
        await client.send(cancel=[first_with_headers(it)])
        await it.settle()
        assert it.shard.book.ledger.total - args < 3 * size

    async def after(it: World) -> None:
        it.client(known["session"])
        assert it.shard.book.ledger.total - args == 5 * size, "whoever reads them back has one for each"
        agent = it.agent()
        while new := await assigned(it, agent):
            agent.report(new)
        await it.settle()
        assert it.shard.book.ledger.total == 0

    kill_and_restart(tmp_path, before, after)


def first_with_headers(it: World) -> bytes:
    """Return the first run that has headers."""
    return next(run.run_id for run in it.runs.values() if run.headers is not None)
