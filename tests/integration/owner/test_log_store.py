"""Logs beside the commits: whoever sees an end finds what was logged, and nobody else waits for logs."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.log_batches import log_batch, logged
from support.owner_harness import Agent, World, assigned, kill_and_restart, play, world

from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_contract.errors import StorageFull
from taskyard_contract.states import FlowEvent, RunKind, RunState
from taskyard_controlplane.owner.logs import writer
from taskyard_controlplane.owner.logs.limits import LogLimits
from taskyard_controlplane.storage import create_reader


async def read(it: World, run_id: bytes) -> list[str]:
    """Return what the log of a run says."""
    [row] = await it.ask(lambda: it.store.runs_by_id([run_id]))
    with closing(create_reader(it.url)) as reader:
        return [record.message for record in reader.logs(row.seq, 0, 5_000, 1 << 24)]


class HeldLogs:
    """Lets appends take until the test lets go; on a thread, as many records do."""

    def __init__(self, it: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self._go = asyncio.Event()
        store: Any = it.store
        append, commit, loop = store.logs.append, store.commit, asyncio.get_running_loop()

        def held(*args: Any) -> None:
            asyncio.run_coroutine_threadsafe(self._go.wait(), loop).result(20)
            append(*args)
            self.calls.append("append")

        def noted(rows: Any) -> Any:
            self.calls += ["end"] * len(rows.ended)
            return commit(rows)

        monkeypatch.setattr(writer, "FEW_ROWS", -1)
        monkeypatch.setattr(store.logs, "append", held)
        monkeypatch.setattr(store, "commit", noted)

    def release(self) -> None:
        self._go.set()


async def turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  # other threads work meanwhile
            await asyncio.sleep(0.001)


def scene(body: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    play(body, "sqlite://")


def test_the_end_of_a_run_is_recorded_after_what_it_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run] = await client.submit()
        await assigned(it, agent)
        held = HeldLogs(it, monkeypatch)
        agent.send(report_number=1, logs=log_batch(run, "a"))
        agent.report([run])
        await turns()
        assert held.calls == []
        held.release()
        await it.settle()
        assert held.calls == ["append", "end"]
        assert client.state_of(run) == RunState.COMPLETED
        assert await read(it, run) == ["a"]

    scene(body)


def test_a_run_that_logged_nothing_does_not_wait_for_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(it: World) -> None:
        client, agent = it.client(), it.agent()
        logging, silent = await client.submit(2)
        await assigned(it, agent)
        held = HeldLogs(it, monkeypatch)
        agent.send(report_number=1, logs=log_batch(logging, "a"))
        agent.report([silent])
        await until(lambda: it.shard.book.runs.keys() == {logging})
        assert held.calls == ["end"]
        agent.receive()
        assert agent.acknowledged == 0, "that its records have come is said when they are stored"
        held.release()
        await it.settle()
        agent.receive()
        assert agent.acknowledged > 0

    scene(body)


def test_a_client_hears_that_its_records_are_stored_when_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(it: World) -> None:
        client = it.client()
        flow = await client.start_flow()
        await it.settle()
        held = HeldLogs(it, monkeypatch)
        await client.send(logs=log_batch(flow, "a"), logs_number=1)
        await turns()
        assert client.session.logs_durable == 0
        held.release()
        await it.settle()
        assert client.session.logs_durable == 1

    scene(body)


def test_records_are_shown_once_stored_or_after_a_while_by_a_store_that_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def body(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run] = await client.submit()
        await assigned(it, agent)
        held = HeldLogs(it, monkeypatch)
        agent.send(logs=log_batch(run, "while it takes long"))
        await turns()
        assert logged(client) == []
        monkeypatch.setattr(writer, "HUNG_SECONDS", 0.0)
        agent.send(logs=log_batch(run, "while it hangs"))
        shown = list[str]()
        await until(lambda: bool(shown.extend(logged(client)) or shown))
        assert (shown, held.calls) == (["while it hangs"], [])
        held.release()
        await it.settle()
        assert logged(client) == ["while it takes long"]

    scene(body)


def test_what_a_run_logs_before_it_is_recorded_goes_with_it() -> None:
    """And so does what its session logs next, or a restart would take it for known."""

    async def body(it: World) -> None:
        client = it.client()
        [flow] = await client.submit(kind=RunKind.FLOW, name="flow", queue="")
        assert not it.shard.journal.is_recorded(it.runs[flow])
        await client.send(logs=log_batch(flow, "first"), logs_number=1)
        assert [row[5] for row in it.shard.journal.open.rows.logs] == ["first"]
        it.shard.committer.recorded_seq = it.runs[flow].seq
        await client.send(logs=log_batch(flow, "second"), logs_number=2)
        assert [row[5] for row in it.shard.journal.open.rows.logs] == ["first", "second"]
        await it.settle()
        await client.send(logs=log_batch(flow, "third"), logs_number=3)
        assert it.shard.journal.open.rows.logs == []
        await it.settle()
        assert await read(it, flow) == ["first", "second", "third"]
        assert client.session.logs_durable == 3

    scene(body)


def test_a_run_that_was_never_recorded_leaves_its_number_to_nobody(tmp_path: Path) -> None:
    async def before(it: World) -> None:
        client = it.client()
        await client.submit()
        await it.settle()
        it.shard.logs.record(17, None, 5, 20, "tests", "of a run that was not recorded")
        await it.settle()

    async def after(it: World) -> None:
        [run] = await it.client().submit()
        assert it.runs[run].seq == 18
        await it.settle()
        assert await read(it, run) == []

    kill_and_restart(tmp_path, before, after)


def refuse_logs(it: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> None:
        raise StorageFull("the log store has no room", retry_after=5.0)

    monkeypatch.setattr(it.store.logs, "append", full)


def test_without_room_for_logs_runs_complete_and_their_logs_say_what_is_lost(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def body(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run] = await client.submit()
        await assigned(it, agent)
        refuse_logs(it, monkeypatch)
        agent.send(report_number=1, logs=log_batch(run, "a", "b", "c"))
        agent.report([run])
        await it.settle()
        assert client.state_of(run) == RunState.COMPLETED
        assert await read(it, run) == ["3 log records are lost: the log store could not take them"]
        assert it.owner.metrics.dropped_logs == 3
        assert len([text for text in caplog.messages if "log store" in text]) == 1
        agent.receive()
        assert agent.acknowledged > 0, "or they would be sent for ever"

    scene(body)


def test_what_a_run_logs_beyond_its_limit_is_left_out() -> None:
    async def main() -> None:
        async with world() as it:
            it.shard.logs.counts.limits = LogLimits(max_records=3)
            client, agent = it.client(), it.agent()
            [run] = await client.submit()
            await assigned(it, agent)
            for _ in range(3):
                agent.send(logs=log_batch(run, "x", "y"))
            agent.report([run])
            await it.settle()
            assert await read(it, run) == ["x", "y", "x", LogLimits(max_records=3).reached()]
            assert not it.shard.logs.counts.runs, "nothing is kept of runs that have ended"

    asyncio.run(asyncio.wait_for(main(), 20))


def test_a_log_is_shown_up_to_what_may_still_come_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line of the control plane that is not durable yet has a lower number than a record that is."""

    async def body(it: World) -> None:
        client = it.client()
        flow = await client.start_flow()
        await it.settle()
        seq = it.runs[flow].seq
        assert await it.owner.logs_up_to(seq) >= it.shard.logs.numbers.last
        start = it.shard.committer._start
        monkeypatch.setattr(it.shard.committer, "_start", lambda: None)
        it.shard.journal.logged(it.runs[flow], seq, 5, 20, "taskyard", "a line")
        line = it.shard.logs.numbers.last
        it.shard.logs.record(seq, seq, 5, 20, "tests", "a record")
        assert await it.owner.logs_up_to(seq) == line - 1
        start()
        monkeypatch.undo()
        await it.settle()
        assert await it.owner.logs_up_to(seq) > line
        report = sp.FlowReport(run_id=flow, event=FlowEvent.SUCCEEDED)  # type: ignore[arg-type]
        await client.send(flow_reports=[report])
        await it.settle()
        assert (await read(it, flow))[:2] == ["a line", "a record"]

    scene(body)


def test_days_are_removed_and_usage_is_told_beside_everything_else(tmp_path: Path) -> None:
    async def body(it: World) -> None:
        client = it.client()
        flow = await client.start_flow()
        await it.settle()
        for _ in range(2):
            await client.send(logs=log_batch(flow, "x"))
            await it.settle()
            it.clock.seconds += 24 * 3600
        [first, second] = await it.owner.logs.usage()
        removed = await it.owner.logs.remove_before(second.begins_us)
        assert [one.begins_us for one in removed] == [first.begins_us]
        assert [one.begins_us for one in await it.owner.logs.usage()] == [second.begins_us]
        assert await read(it, flow) == ["x"]

    play(body, f"sqlite:///{tmp_path}/yard.db")


def agent_logs(agent: Agent, number: int, run: bytes, text: str) -> None:
    agent.send(report_number=number, logs=log_batch(run, text))


def test_a_run_goes_on_logging_over_a_restart_of_the_server(tmp_path: Path) -> None:
    kept: dict[str, Any] = {}

    async def before(it: World) -> None:
        client, agent = it.client(), it.agent()
        [kept["run"]] = await client.submit()
        await assigned(it, agent)
        kept["session"], kept["key"] = agent.agent.session_id, agent.key(kept["run"])
        agent_logs(agent, 1, kept["run"], "before")
        await it.settle()

    async def after(it: World) -> None:
        agent = it.agent(session_id=kept["session"], held=[(kept["key"].run_id, kept["key"].epoch)])
        agent_logs(agent, 1, kept["run"], "before")
        agent_logs(agent, 2, kept["run"], "after")
        agent.report([kept["run"]], epoch=kept["key"].epoch)
        await it.settle()
        assert await read(it, kept["run"]) == ["before", "after"]
        assert (await it.history(kept["run"]))[-1] == RunState.COMPLETED

    kill_and_restart(tmp_path, before, after)
