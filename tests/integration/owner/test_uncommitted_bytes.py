"""What is accepted and not durable yet is bounded in bytes, and what is refused comes through later."""

import pytest
from support.owner_harness import World, assigned, play

from taskyard_api.v1 import common_pb2, template_pb2
from taskyard_api.v1 import run_service_pb2 as rs
from taskyard_contract.errors import ErrorReason, Overloaded
from taskyard_contract.id_factory import new_id
from taskyard_contract.states import RunKind
from taskyard_controlplane.domain.memory import MemoryLimits

SMALL = MemoryLimits(uncommitted=3_000)  # beside a template, room for one of these
LARGE_ARGS = [b"x" * 600]


def test_a_submission_beyond_the_ceiling_is_refused_with_a_delay_and_taken_later() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        taken = [*await client.submit(args=LARGE_ARGS), *await client.submit(args=LARGE_ARGS)]
        [refused] = await client.submit(args=LARGE_ARGS)
        await it.settle()
        client.receive()
        error = client.refused[refused].error
        assert (error.reason, error.retry_after_ms) == (ErrorReason.OVERLOADED, 1000)
        assert it.runs.keys() == set(taken)
        assert it.shard.committer.uncommitted_bytes == 0
        await client.submit(run_ids=[refused], args=LARGE_ARGS)
        assert it.runs.keys() == {*taken, refused}

    play(scenario, memory=SMALL)


def test_results_and_code_count_as_well() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        ids = await client.submit(2)
        await assigned(it, agent)
        agent.report(ids, value=b"r" * 2_000)
        [refused] = await client.submit()
        await it.settle()
        client.receive()
        assert client.refused.keys() == {refused}

    play(scenario, memory=SMALL)


def test_arguments_in_other_encodings_count_as_well() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        labelled = common_pb2.Payload(encoding="json/plain", data=b"j" * 2_500)
        await client.submit(args=[], extras=[labelled])
        [refused] = await client.submit()
        await it.settle()
        client.receive()
        assert client.refused.keys() == {refused}
        assert it.shard.committer.uncommitted_bytes == 0

    play(scenario, memory=SMALL)


def test_an_id_that_is_taken_is_refused_whatever_else_is_too_much() -> None:
    async def scenario(it: World) -> None:
        client, other = it.client(), it.client()
        [taken, _] = await client.submit(2, args=LARGE_ARGS * 2)
        await client.submit(args=LARGE_ARGS)
        await other.submit(run_ids=[taken])
        await it.settle()
        other.receive()
        assert {run_id: each.error.reason for run_id, each in other.refused.items()} == {
            taken: ErrorReason.RUN_EXISTS
        }

    play(scenario, memory=SMALL)


def test_what_depends_on_a_refused_run_is_refused_until_that_comes_again() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        await client.submit(2, args=LARGE_ARGS * 2)
        [first] = await client.submit()
        [flow] = await client.submit(kind=RunKind.FLOW, name="flow", queue="")
        await it.settle()
        [second] = await client.submit(upstream=[(0, first)])
        [inside] = await client.submit(flow=flow)
        client.receive()
        assert client.refused.keys() == {first, flow, second, inside}
        assert {each.error.reason for each in client.refused.values()} == {ErrorReason.OVERLOADED}
        client.refused.clear()
        await client.submit(run_ids=[first])
        await client.submit(run_ids=[second], upstream=[(0, first)])
        await client.submit(run_ids=[flow], kind=RunKind.FLOW, name="flow", queue="")
        await client.submit(run_ids=[inside], flow=flow)
        agent.report(await assigned(it, agent))
        assert second in await assigned(it, agent)
        client.receive()
        assert not client.refused

    play(scenario, memory=SMALL)


def test_a_unary_call_beyond_the_ceiling_is_refused_as_a_whole() -> None:
    def new(args: bytes) -> rs.NewRun:
        code = template_pb2.Code(reference="module:task")
        template = template_pb2.RunTemplate(kind=1, name="task", queue="default", code=code)
        return rs.NewRun(run_id=new_id(), template=template, args=common_pb2.Payload(data=args))

    async def scenario(it: World) -> None:
        client, late = it.client(), new(b"late")
        await client.submit(2, args=LARGE_ARGS * 2)
        with pytest.raises(Overloaded) as refused:
            await it.owner.submit_unowned([late], [])
        assert refused.value.retry_after == 1.0
        await it.settle()
        assert late.run_id not in it.runs
        assert await it.owner.submit_unowned([late], []) == []

    play(scenario, memory=SMALL)
