"""A full database: what is refused is told to everybody concerned, and nothing waits for it for ever."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from support.owner_harness import Client, World, assigned, lose, started, world

from taskyard_api.v1 import run_service_pb2, session_service_pb2, states_pb2, template_pb2
from taskyard_contract.errors import ErrorReason, StorageFull, StorageUnavailable
from taskyard_contract.id_factory import new_id
from taskyard_contract.states import RunState
from taskyard_controlplane.owner.journal import committer

CODE = template_pb2.Code(task_name="task")


def play(scenario: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    async def go() -> None:
        async with world() as it:
            await scenario(it)

    asyncio.run(go())


def refuse_next(it: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the database have no room for the next commit that brings runs."""
    commit = it.store.commit

    def full(batch: Any) -> Any:
        if batch.new_runs:
            monkeypatch.setattr(it.store, "commit", commit)
            raise StorageFull("the database has no room: make room, then repeat", retry_after=5.0)
        return commit(batch)

    monkeypatch.setattr(it.store, "commit", full)


def refuse_all(it: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the database have no room at all until the patch is undone."""

    def full(batch: Any) -> Any:
        raise StorageFull("the database has no room: make room, then repeat", retry_after=5.0)

    monkeypatch.setattr(it.store, "commit", full)


async def told(client: Client, run_id: bytes) -> int:
    """Wait, in real time, until a client was told of a refusal; returns the reason."""
    async with asyncio.timeout(5):
        while run_id not in client.refused:
            await asyncio.sleep(0.01)  # the committer's own delay
            client.receive()
    return client.refused[run_id].error.reason


def test_a_refusal_says_when_to_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        refuse_next(it, monkeypatch)
        [run] = await client.submit()
        await it.settle()
        client.receive()
        error = client.refused[run].error
        assert (error.reason, error.retry_after_ms) == (ErrorReason.STORAGE_FULL, 5000)
        assert it.owner.open_count() == 0

    play(scenario)


def test_runs_without_a_session_are_refused_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `SubmitRuns` does not refuse is durable."""

    async def scenario(it: World) -> None:
        refuse_next(it, monkeypatch)
        template = template_pb2.RunTemplate(
            kind=states_pb2.RUN_KIND_TASK, name="task", queue="default", code=CODE
        )
        new = run_service_pb2.NewRun(run_id=new_id(), template=template)
        with pytest.raises(StorageFull) as raised:
            await it.owner.submit_unowned([new], [])
        assert raised.value.retry_after == 5.0
        assert await it.owner.submit_unowned([new], []) == []
        assert (await it.history(new.run_id))[-1] == RunState.READY

    play(scenario)


def test_a_refused_cache_leader_leaves_its_key_to_the_next_run(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        refuse_next(it, monkeypatch)
        [refused] = await client.submit(cache_keys=["k"])
        await it.settle()
        client.receive()
        assert refused in client.refused
        [later] = await client.submit(cache_keys=["k"])
        await it.settle()
        assert agent.receive() == [later]

    play(scenario)


def test_a_run_behind_a_refused_one_does_not_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        refuse_next(it, monkeypatch)
        [upstream] = await client.submit()
        [same_commit] = await client.submit(upstream=[(0, upstream)])
        await asyncio.sleep(0)  # these two are on their way
        [next_commit] = await client.submit(upstream=[(0, upstream)])
        await it.settle()
        [later] = await client.submit(upstream=[(0, upstream)])
        await it.settle()
        assert client.state_of(later) == RunState.NOT_READY
        assert set(client.refused) == {upstream, same_commit, next_commit}
        assert it.owner.open_count() == 0

    play(scenario)


def test_a_refusal_leaves_nothing_stalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waiting to be written after it, so leases run and the next submission is tried."""

    async def scenario(it: World) -> None:
        client = it.client()
        refuse_next(it, monkeypatch)
        [refused] = await client.submit()
        await it.settle()
        assert not it.owner.stalled
        await it.advance(60)
        [later] = await client.submit()
        await it.settle()
        client.receive()
        assert set(client.refused) == {refused}
        assert (await it.history(later))[-1] == RunState.READY

    play(scenario)


def test_new_runs_do_not_wait_behind_a_report_that_finds_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports are never refused; while one waits for room, new runs are, at once."""

    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [first] = await client.submit()
        await it.settle()
        agent.receive()
        with monkeypatch.context() as patched:
            refuse_all(it, patched)
            agent.report([first])
            [second] = await client.submit()
            assert await told(client, second) == ErrorReason.STORAGE_FULL
            [third] = await client.submit()
            assert await told(client, third) == ErrorReason.STORAGE_FULL
            assert it.owner.stalled
        await it.settle()
        assert client.state_of(first) == RunState.COMPLETED
        [fourth] = await client.submit()
        await it.settle()
        assert (await it.history(fourth))[-1] == RunState.READY

    play(scenario)


def test_reports_about_a_refused_flow_run_do_not_end_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        refuse_next(it, monkeypatch)
        flow = await client.start_flow()
        client.receive()
        first = client.refused[flow].error.reason
        await client.send(flow_reports=[session_service_pb2.FlowReport(run_id=flow, event=2)])
        client.receive()
        assert (first, client.closed) == (ErrorReason.STORAGE_FULL, None)
        assert client.refused[flow].error.reason == ErrorReason.RUN_NOT_FOUND

    play(scenario)


def test_a_batch_that_may_be_recorded_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer, "RETRY_DELAYS", (0.0,))

    async def scenario(it: World) -> None:
        client, commit = it.client(), it.store.commit
        errors: list[Any] = [StorageUnavailable("its answer was lost"), StorageFull("no room")]

        def faulty(batch: Any) -> Any:
            if len(errors) == 2:
                commit(batch)
            if errors:
                raise errors.pop(0)
            return commit(batch)

        monkeypatch.setattr(it.store, "commit", faulty)
        [run_id] = await client.submit()
        for _ in range(5):
            await asyncio.sleep(0.01)
        await it.settle()
        client.receive()
        assert (client.acknowledged, client.refused) == (1, {})
        assert run_id in it.runs

    play(scenario)


def test_a_session_that_waits_for_the_run_of_another_is_told_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(it: World) -> None:
        client, listener = it.client(), it.client()
        refuse_next(it, monkeypatch)
        [run_id] = await client.submit()
        await listener.send(subscribe=[run_id])
        assert await told(listener, run_id) == ErrorReason.STORAGE_FULL
        assert await told(client, run_id) == ErrorReason.STORAGE_FULL

    play(scenario)


def test_what_is_not_durable_is_not_acknowledged_with_what_is_refused_behind_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        errors: list[Exception] = [StorageUnavailable("the answer to COMMIT was lost", retry_after=1.0)]

        def fail(batch: Any) -> Any:
            raise errors[-1]

        monkeypatch.setattr(it.store, "commit", fail)
        [first] = await client.submit()
        async with asyncio.timeout(5):
            while not it.owner.stalled:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        [second] = await client.submit()
        errors.append(StorageFull("the database has no room: make room, then repeat", retry_after=5.0))
        assert await told(client, second) == ErrorReason.STORAGE_FULL
        assert client.acknowledged == 0, "nobody knows whether the first one is recorded"
        monkeypatch.undo()
        await it.settle()
        await it.advance(1)
        client.receive()
        assert client.acknowledged == 2
        assert it.runs[first].state == RunState.READY
        assert set(client.refused) == {second}

    play(scenario)


def test_runs_that_were_read_back_go_on_when_there_is_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They go on with the first commit after a restart, and are none of those that it brings."""

    async def go() -> None:
        url = f"sqlite:///{tmp_path}/yard.db"
        first = await started(url)
        ids = await first.client().submit(3)
        await first.settle()
        await lose(first)
        it = World(url)
        refuse_all(it, monkeypatch)
        await it.owner.start()
        client, agent = it.client(), it.agent()
        [new] = await client.submit()
        assert await told(client, new) == ErrorReason.STORAGE_FULL
        monkeypatch.undo()
        assert await assigned(it, agent) == ids
        await it.owner.stop()

    asyncio.run(go())


def test_log_records_without_room_are_counted_and_said_to_be_dropped(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Those that are in a commit: of a run that is not recorded itself."""

    async def scenario(it: World) -> None:
        client = it.client()
        flow = await client.start_flow()
        await it.settle()
        monkeypatch.setattr(type(it.shard.journal), "is_recorded", lambda journal, run: False)
        refuse_all(it, monkeypatch)
        logs = session_service_pb2.LogBatch(
            run_ids=[flow] * 2, at_us=[1, 2], levels=[20] * 2, loggers=["tests"] * 2, messages=["a", "b"]
        )
        await client.send(logs=logs, logs_number=1)
        async with asyncio.timeout(5):
            while not it.owner.stalled:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        monkeypatch.undo()
        await it.settle()
        assert it.owner.metrics.dropped_logs == 2
        assert "2 log records dropped: the database has no room" in caplog.text

    play(scenario)
