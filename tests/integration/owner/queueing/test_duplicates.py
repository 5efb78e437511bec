"""Ids that were used before, and calls that are made twice: everybody involved is told."""

import asyncio

import pytest
from support.owner_harness import World, assigned, play

from taskyard_api.v1 import common_pb2
from taskyard_api.v1 import run_service_pb2 as rp
from taskyard_api.v1 import template_pb2 as tp
from taskyard_contract.errors import ErrorReason, InvalidRequest
from taskyard_contract.id_factory import new_id
from taskyard_contract.states import RunKind

CODE = tp.Code(task_name="task")


def test_whoever_waits_for_a_run_that_was_refused_as_a_duplicate_is_told() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [used] = await client.submit()
        await assigned(it, agent)
        agent.report([used])
        await it.settle()
        it.store.small_commits_are_fast = False  # so that there is time while it commits
        await it.client().submit(run_ids=[used])
        assert used in it.runs  # not committed yet
        waiting = asyncio.ensure_future(it.owner.wait_ended(used))
        await it.settle()
        done, _ = await asyncio.wait([waiting], timeout=0.2)
        waiting.cancel()
        assert done

    play(scenario)


@pytest.mark.parametrize("fast", [True, False], ids=["in the same commit", "while it is committed"])
def test_cancelling_a_run_that_turns_out_to_be_a_duplicate_does_not_change_how_the_recorded_one_ended(
    fast: bool,
) -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [used] = await client.submit()
        await assigned(it, agent)
        agent.report([used])
        await it.settle()
        it.owner.shard.book.recent.clear()  # it ended so long ago that only the database knows
        it.store.small_commits_are_fast = fast
        late = it.client()
        await late.submit(run_ids=[used])
        assert used in it.runs  # not committed yet
        await late.send(cancel=[used])
        await it.settle()
        late.receive()
        assert used in late.refused
        assert late.state_of(used) is None
        await client.submit(upstream=[(0, used)])
        assert len(await assigned(it, agent)) == 1

    play(scenario)


def test_whoever_subscribed_to_a_run_that_was_refused_as_a_duplicate_is_told() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [used] = await client.submit()
        await assigned(it, agent)
        agent.report([used])
        await it.settle()
        other = it.client()
        await it.client().submit(run_ids=[used])
        await other.send(subscribe=[used])
        await it.settle()
        assert other.state_of(used) is not None or used in other.refused

    play(scenario)


def test_a_refused_request_records_nothing() -> None:
    async def scenario(it: World) -> None:
        def new(queue: str) -> rp.NewRun:
            template = tp.RunTemplate(kind=1, name="t", queue=queue, code=CODE)  # type: ignore[arg-type]
            return rp.NewRun(run_id=new_id(), template=template)

        with pytest.raises(InvalidRequest):
            await it.owner.submit_unowned([new("default"), new("")], [])
        assert it.owner.open_count() == 0

    play(scenario)


def test_a_repeated_call_is_compared_also_on_its_way_to_the_backlog() -> None:
    async def scenario(it: World) -> None:
        await it.client().submit(5)
        await it.settle()
        template = tp.RunTemplate(kind=int(RunKind.TASK), name="t", queue="default", code=CODE)  # type: ignore[arg-type]
        run_id = new_id()
        calls = [
            it.owner.submit_unowned(
                [rp.NewRun(run_id=run_id, template=template, args=common_pb2.Payload(data=data))], []
            )
            for data in (b"1", b"1", b"2")
        ]
        refused = await asyncio.gather(*calls)
        assert [[one.error.reason for one in each] for each in refused] == [[], [], [ErrorReason.RUN_EXISTS]]

    play(scenario, window=2)


def test_a_queue_that_could_not_be_stored_is_refused() -> None:
    async def scenario(it: World) -> None:
        with pytest.raises(InvalidRequest, match="NUL"):
            await it.client().submit(queue="a\x00b")

    play(scenario)


@pytest.mark.parametrize("ended", [False, True])
def test_another_run_under_the_same_id_is_refused_whatever_is_other(ended: bool) -> None:
    """Its arguments, however they travel, its task or its name; what is the same is the same call again."""
    template = tp.RunTemplate(kind=1, name="task", queue="default", encoding="python/pickle5", code=CODE)  # type: ignore[arg-type]
    other_template = tp.RunTemplate()
    other_template.CopyFrom(template)
    other_template.retry.max_retries = 1

    def blob(digest: bytes) -> common_pb2.Payload:
        return common_pb2.Payload(blob=common_pb2.BlobRef(digest=digest * 32, size=9))

    first = rp.NewRun(run_id=new_id(), template=template, args=blob(b"a"))
    others = {
        "other blob": {"args": blob(b"b")},
        "no arguments": {"args": common_pb2.Payload()},
        "bytes": {"args": common_pb2.Payload(data=b"x")},
        "other encoding": {"args": common_pb2.Payload(encoding="x/y", blob=blob(b"a").blob)},
        "other options": {"template": other_template},
        "other name": {"name": "mine"},
    }

    async def scenario(it: World) -> None:
        assert await it.owner.submit_unowned([first], []) == []
        if ended:
            await it.owner.cancel(first.run_id)
            await it.settle()
        assert await it.owner.submit_unowned([first], []) == []
        for what, fields in others.items():
            again = rp.NewRun()
            again.CopyFrom(first)
            for field, value in fields.items():
                if isinstance(value, str):
                    setattr(again, field, value)
                else:
                    getattr(again, field).CopyFrom(value)
            [refused] = await it.owner.submit_unowned([again], [])
            assert refused.error.reason == ErrorReason.RUN_EXISTS, what

    play(scenario)
