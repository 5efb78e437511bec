"""Submissions that meet what is there already: ids used before, refusals, new streams and new sessions."""

import asyncio
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from support.owner_harness import Agent, World, assigned, kill_and_restart, play

from taskyard_api.v1 import common_pb2
from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_api.v1 import template_pb2 as tp
from taskyard_contract.errors import DigestMismatch, ErrorReason, InvalidRequest, StorageFull
from taskyard_contract.id_factory import new_id, new_ids
from taskyard_contract.states import FlowEvent, RunKind, RunState, UpstreamKind
from taskyard_controlplane.owner.journal import committer
from taskyard_controlplane.owner.serving.crowd import FAIR_RUNS
from taskyard_controlplane.storage.interface import CommitResult, WriteBatch

S = RunState


async def keep_alive(it: World, agent: Agent, seconds: int) -> None:
    """Let time pass for everybody but an agent."""
    for _ in range(seconds):
        agent.heartbeat()
        await it.advance(1)


def no_room_once(it: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the database have no room for the next commit."""
    commit = it.store.commit

    def full(batch: Any) -> Any:
        monkeypatch.setattr(it.store, "commit", commit)
        raise StorageFull("no room", retry_after=1.0)

    monkeypatch.setattr(it.store, "commit", full)


@pytest.mark.parametrize("more", [{}, {"cache_keys": [""]}], ids=["plain", "careful"])
@pytest.mark.parametrize("started", [False, True])
def test_an_open_run_submitted_again_is_refused_and_stays_the_run_it_is(
    more: dict[str, Any], started: bool
) -> None:
    async def scenario(it: World) -> None:
        client, other, agent = it.client(), it.client(), it.agent(credit=int(started))
        [run_id] = await client.submit()
        await it.settle()
        run = it.runs[run_id]
        for resend in (False, True):
            await other.submit(run_ids=[run_id], resend=resend, **more)
            other.receive()
            assert other.refused.pop(run_id).error.reason == ErrorReason.RUN_EXISTS
        await it.settle()
        assert it.runs[run_id] is run
        seen = await assigned(it, agent)
        second = it.agent("b")
        seen += await assigned(it, second)
        assert seen == [run_id]
        (agent if started else second).report([run_id])
        await it.settle()
        assert client.state_of(run_id) == S.COMPLETED
        assert (client.refused, it.owner.open_count()) == ({}, 0)

    play(scenario)


def test_a_refused_group_leaves_alone_what_is_open() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        [run_id] = await client.submit()
        await it.settle()
        await client.submit(run_ids=[run_id, second := new_id()], flow=new_id(), resend=True)
        await it.settle()
        client.receive()
        assert client.refused.keys() == {second}

    play(scenario)


def test_what_was_refused_on_a_stream_stays_refused_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch was under way twice: once on the old stream, once on the new one."""
    monkeypatch.setattr(committer, "RETRY_DELAYS", (0.0,))

    async def scenario(it: World) -> None:
        client = it.client()
        no_room_once(it, monkeypatch)
        [run_id] = await client.submit()
        client.disconnect()
        again = it.client(client.session.session_id)
        await it.settle()
        await again.submit(run_ids=[run_id], resend=True)
        await it.settle()
        again.receive()
        assert again.refused.keys() == {run_id}
        assert again.acknowledged == 1
        assert it.owner.open_count() == 0
        await again.submit()
        third = it.client(client.session.session_id)
        await third.submit(run_ids=[run_id], resend=True)
        await it.settle()
        assert run_id in it.runs  # a client that asks again, on another stream, means it

    play(scenario)


@pytest.mark.parametrize("how", ["resend", "subscribe"])
def test_a_client_whose_session_was_lost_gets_what_was_under_way(how: str) -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run_id] = await client.submit()
        await assigned(it, agent)
        client.disconnect()
        await keep_alive(it, agent, 40)
        assert it.owner.sessions == []
        again = it.client(client.session.session_id)
        if how == "resend":
            await again.submit(run_ids=[run_id], resend=True)
        else:
            await again.send(subscribe=[run_id])
        agent.report([run_id])
        await it.settle()
        assert again.state_of(run_id) == S.COMPLETED

    play(scenario)


def test_a_run_that_was_loaded_while_it_was_looked_up_is_told() -> None:
    async def scenario(it: World) -> None:
        client, other = it.client(), it.client()
        ids = await client.submit(9)
        await it.settle()
        stored = it.shard.stored
        look_up = stored.heads

        async def meanwhile(run_ids: list[bytes]) -> Any:
            rows = await look_up(run_ids)
            agent = it.agent(credit=9)
            while new := await assigned(it, agent):
                if ids[-1] in new:
                    found.append(agent)
                    break
                agent.report(new)
            return rows

        found: list[Agent] = []
        stored.heads = meanwhile
        await other.send(subscribe=[ids[-1]])
        [agent] = found
        agent.report([ids[-1]])
        await it.settle()
        assert other.state_of(ids[-1]) == S.COMPLETED

    play(scenario, window=3)


def test_names_and_large_arguments_travel_to_the_agent() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        blob = common_pb2.BlobRef(digest=b"d" * 32, size=9)
        definition = tp.TemplateDefinition(
            index=1, template=tp.RunTemplate(kind=RunKind.TASK, name="task", queue="default")
        )
        group = sp.RunGroup(
            template=1, run_ids=[new_id(), new_id()],
            extras=[sp.RunExtra(position=0, name="named"), sp.RunExtra(position=1, args=blob)],
        )  # fmt: skip
        await client.send(submit=sp.SubmitBatch(number=1, templates=[definition], groups=[group]))
        first, second = await assigned(it, agent)
        extras = [agent.bodies[run_id][0].extras[agent.bodies[run_id][1]] for run_id in (first, second)]
        assert [(extra.name, extra.args.digest) for extra in extras] == [("named", b""), ("", b"d" * 32)]
        assert [one.digest for one in agent.chunks[0].blobs] == [b"d" * 32]

    play(scenario)


@pytest.mark.parametrize("how", ["args", "payload"])
def test_arguments_larger_than_any_may_be_refuse_their_run_alone(how: str) -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        definition = tp.TemplateDefinition(
            index=1, template=tp.RunTemplate(kind=RunKind.TASK, name="task", queue="default")
        )
        fits, beyond = new_ids(2)
        group = sp.RunGroup(template=1, run_ids=[fits, beyond])
        for position, size in enumerate((1 << 20, (1 << 20) + 1)):
            blob = common_pb2.BlobRef(digest=b"d" * 32, size=size)
            args = blob if how == "args" else common_pb2.Payload(encoding="mine/plain", blob=blob)
            group.extras.append(sp.RunExtra(position=position, **{how: args}))
        await client.send(submit=sp.SubmitBatch(number=1, templates=[definition], groups=[group]))
        assert await assigned(it, agent) == [fits]
        client.receive()
        assert client.refused.keys() == {beyond}
        assert client.refused[beyond].error.reason == ErrorReason.PAYLOAD_TOO_LARGE
        assert client.refused[beyond].error.limit == 1 << 20

    play(scenario)


@pytest.mark.parametrize("how", ["args", "payload"])
def test_a_blob_without_a_digest_is_a_defect_of_the_client(how: str) -> None:
    async def scenario(it: World) -> None:
        blob = common_pb2.BlobRef(digest=b"short", size=9)
        args = blob if how == "args" else common_pb2.Payload(blob=blob)
        definition = tp.TemplateDefinition(
            index=1, template=tp.RunTemplate(kind=RunKind.TASK, name="task", queue="default")
        )
        group = sp.RunGroup(template=1, run_ids=[new_id()], extras=[sp.RunExtra(**{how: args})])
        with pytest.raises(InvalidRequest, match="5 bytes"):
            await it.client().send(submit=sp.SubmitBatch(number=1, templates=[definition], groups=[group]))

    play(scenario)


def test_small_blobs_come_with_a_batch() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        wrong = common_pb2.InlineBlob(digest=b"x" * 32, data=b"code")
        with pytest.raises(DigestMismatch):
            await client.send(submit=sp.SubmitBatch(number=1, blobs=[wrong]))
        right = common_pb2.InlineBlob(digest=sha256(b"code").digest(), data=b"code")
        batches = []
        commit = it.store.commit

        def noted(batch: Any) -> Any:
            batches.extend(batch.blobs)
            return commit(batch)

        it.store.commit = noted  # type: ignore[method-assign]
        other = common_pb2.InlineBlob(digest=sha256(b"data").digest(), data=b"data")
        code = tp.Code(blob_digest=right.digest)
        template = tp.RunTemplate(kind=1, name="t", queue="q", code=code)  # type: ignore[arg-type]
        batch = sp.SubmitBatch(number=1, blobs=[right, other])
        batch.templates.add(index=1, template=template)
        await client.send(submit=batch)
        await it.settle()
        assert batches == [(right.digest, b"code"), (other.digest, b"data")]
        assert it.shard.templates.codes.get(right.digest) == b"code"
        assert it.shard.templates.codes.get(other.digest) == b"", "nothing needs it with a template"

    play(scenario)


def test_what_came_with_refused_runs_is_kept_for_later_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "RETRY_DELAYS", (0.0,))
    found: dict[str, Any] = {}

    async def before(it: World) -> None:
        client, commit, blobs = it.client(), it.store.commit, list[Any]()

        def noted(batch: Any) -> Any:
            blobs.extend(batch.blobs)
            return commit(batch)

        monkeypatch.setattr(it.store, "commit", noted)
        no_room_once(it, monkeypatch)
        code = common_pb2.InlineBlob(digest=sha256(b"code").digest(), data=b"code")
        await client.send(submit=sp.SubmitBatch(blobs=[code]))
        await client.submit(name="same")
        await it.settle()
        [found["run"]] = await client.submit(name="same")
        await it.settle()
        client.receive()
        assert len(client.refused) == 1
        assert blobs == [(code.digest, b"code")]

    async def after(it: World) -> None:
        assert await assigned(it, it.agent()) == [found["run"]]

    kill_and_restart(tmp_path, before, after)


@pytest.mark.parametrize("started", [False, True])
def test_a_refused_flow_run_is_let_go(started: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer, "RETRY_DELAYS", (0.0,))

    async def scenario(it: World) -> None:
        client = it.client()
        no_room_once(it, monkeypatch)
        [flow] = await client.submit(kind=RunKind.FLOW, name="flow", queue="")
        if started:
            await client.send(flow_reports=[sp.FlowReport(run_id=flow, event=int(FlowEvent.STARTED))])  # type: ignore[arg-type]
        seq = it.runs[flow].seq
        await client.send(cancel=[flow])  # what follows is in the commit that is refused as well
        await it.settle()
        assert await it.ask(lambda: it.store.events_of([seq])) == []
        client.receive()
        assert client.refused.keys() == {flow}
        assert client.acknowledged == 1
        assert not client.session.executing
        assert not it.shard.book.flows_by_seq
        assert client.outcomes == {}
        assert it.shard.committer.idle

    play(scenario)


def test_nobody_waits_for_a_refused_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer, "RETRY_DELAYS", (0.0,))

    async def scenario(it: World) -> None:
        client = it.client()
        it.store.small_commits_are_fast = False  # or the commit would be over before anybody waits
        no_room_once(it, monkeypatch)
        [run_id] = await client.submit()
        waiting = asyncio.ensure_future(it.owner.wait_ended(run_id))
        await it.settle()
        client.receive()
        assert client.refused.keys() == {run_id}
        assert waiting.done()
        assert waiting.exception() is None

    play(scenario)


def test_a_run_cancelled_before_it_was_refused_is_only_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer, "RETRY_DELAYS", (0.0,))

    async def scenario(it: World) -> None:
        client = it.client()
        no_room_once(it, monkeypatch)
        [run_id] = await client.submit()
        await client.send(cancel=[run_id])
        await it.settle()
        assert client.state_of(run_id) is None
        assert client.refused.keys() == {run_id}
        assert run_id not in it.shard.book.recent

    play(scenario)


def test_an_id_used_before_is_refused_also_on_its_way_to_the_backlog() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(credit=1)
        [used] = await client.submit()
        await assigned(it, agent)
        agent.granted -= 1
        agent.report([used])
        await it.settle()
        other = it.client()
        await other.submit(run_ids=[*new_ids(8), used])
        await it.settle()
        other.receive()
        assert other.acknowledged == 1
        assert used in other.refused

    play(scenario, window=3)


def test_a_large_frame_goes_into_several_commits_while_others_submit() -> None:
    async def scenario(it: World) -> None:
        greedy, other = it.client(), it.client()
        intake = it.owner.connections.client_intake
        for session in (greedy.session, other.session):
            await intake.took(session, 18, runs=1)
        await it.settle()
        sizes: list[int] = []
        commit = it.store.commit

        def counted(batch: WriteBatch) -> CommitResult:
            sizes.append(len(batch.new_runs))
            return commit(batch)

        it.store.commit = counted  # type: ignore[method-assign]
        plain = await greedy.submit(2 * FAIR_RUNS + 1)
        await it.settle()
        careful = await greedy.submit(FAIR_RUNS + 2, upstream=[(FAIR_RUNS + 1, plain[0], UpstreamKind.DATA)])
        await it.settle()
        assert [size for size in sizes if size] == [FAIR_RUNS, FAIR_RUNS, 1, FAIR_RUNS, 2]
        for ids in (plain, careful):
            assert [it.runs[run_id].ordinal for run_id in ids] == list(range(len(ids)))
        in_order = sorted(it.runs.values(), key=lambda run: run.seq)
        assert [run.run_id for run in in_order] == plain + careful
        assert [run.run_id for run in in_order if run.state != S.READY] == careful[-1:]
        greedy.receive()
        assert greedy.acknowledged == 2

    play(scenario)
