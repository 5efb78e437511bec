"""Log records are recorded once: not lost with a server, not doubled by a repetition."""

from contextlib import closing
from pathlib import Path
from typing import Any

from support.log_batches import log_batch
from support.owner_harness import Agent, Client, World, assigned, kill_and_restart, play

from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_contract.id_factory import new_id
from taskyard_contract.states import FlowEvent
from taskyard_controlplane.owner.peers.log_marks import LogMarks
from taskyard_controlplane.owner.shard.recovery import LOG_MARK_US
from taskyard_controlplane.storage import create_reader
from taskyard_controlplane.storage.interface import LogMarkRow


def recorded(path: Path, seq: int = 1) -> list[str]:
    """Return what peers had recorded: what the control plane says itself is none of it."""
    with closing(create_reader(f"sqlite:///{path}/yard.db")) as reader:
        logs = reader.logs(seq, 0, 1000, 1 << 20)
        return [log.message for log in logs if not log.logger.startswith("taskyard.")]


def acknowledged_logs(client: Client) -> int:
    up_to = 0
    while (frame := client.session.next_frame()) is not None:
        client.session.written()
        up_to = max(up_to, frame.logs_up_to)
    return up_to


def test_what_a_client_logged_is_recorded_once_whatever_was_acknowledged(tmp_path: Path) -> None:
    session_id, kept = new_id(), dict[str, Any]()

    async def before(it: World) -> None:
        client = it.client(session_id)
        kept["run"] = run_id = await client.start_flow()
        await it.settle()
        await client.send(logs=log_batch(run_id, "a", "b"), logs_number=1)
        await client.send(logs=log_batch(run_id, "a", "b"), logs_number=1)
        await it.settle()
        assert acknowledged_logs(client) == 1

    async def after(it: World) -> None:
        client = it.client(session_id)
        assert acknowledged_logs(client) == 1, "known from the database"
        for number, texts in ((1, "ab"), (2, "c"), (2, "c")):
            await client.send(logs=log_batch(kept["run"], *texts), logs_number=number)
        await it.settle()
        assert acknowledged_logs(client) == 2
        client.disconnect()
        again = it.client(session_id)
        assert acknowledged_logs(again) == 2, "said again on a new stream"
        await again.send(logs=log_batch(kept["run"], "c"), logs_number=2)
        await it.settle()

    kill_and_restart(tmp_path, before, after)
    assert recorded(tmp_path) == ["a", "b", "c"]


def test_what_a_flow_logs_with_its_end_is_recorded(tmp_path: Path) -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        run_id = await client.start_flow()
        await it.settle()
        end = sp.FlowReport(run_id=run_id, event=sp.FLOW_EVENT_SUCCEEDED)
        await client.send(
            flow_reports=[end], subscribe=[new_id()], logs=log_batch(run_id, "last"), logs_number=1
        )
        await it.settle()

    play(scenario, f"sqlite:///{tmp_path}/yard.db")
    assert recorded(tmp_path) == ["last"]


def test_a_client_that_numbers_nothing_is_recorded_as_ever(tmp_path: Path) -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        run_id = await client.start_flow()
        await it.settle()
        for _ in range(2):
            await client.send(logs=log_batch(run_id, "x"))
        await it.settle()
        assert acknowledged_logs(client) == 0
        assert await it.ask(it.store.log_marks) == []

    play(scenario, f"sqlite:///{tmp_path}/yard.db")
    assert recorded(tmp_path) == ["x", "x"]


def test_what_runs_logged_is_recorded_once_though_the_server_was_restarted(tmp_path: Path) -> None:
    kept = dict[str, Any]()

    def reported(agent: Agent, number: int, *texts: str) -> None:
        agent.send(report_number=number, logs=log_batch(kept["run"], *texts))

    async def before(it: World) -> None:
        client, agent = it.client(), it.agent()
        [kept["run"]] = await client.submit()
        await assigned(it, agent)
        kept["session"], kept["key"] = agent.agent.session_id, agent.key(kept["run"])
        reported(agent, 1, "a")
        reported(agent, 2, "b")
        await it.settle()

    async def after(it: World) -> None:
        agent = it.agent(session_id=kept["session"], held=[(kept["key"].run_id, kept["key"].epoch)])
        for number, text in ((1, "a"), (2, "b"), (3, "c")):
            reported(agent, number, text)
        await it.settle()
        agent.receive()
        assert agent.acknowledged == 3

    kill_and_restart(tmp_path, before, after)
    assert recorded(tmp_path) == ["a", "b", "c"]


def test_marks_of_sessions_long_gone_are_forgotten(tmp_path: Path) -> None:
    async def before(it: World) -> None:
        for session_id, number, age_us in ((b"o" * 16, 5, 2 * LOG_MARK_US), (b"n" * 16, 1, 0)):
            mark = LogMarkRow(session_id, number, it.clock.now_us() - age_us)
            it.shard.committer.open.rows.log_marks.append(mark)
        it.shard.journal.touch()
        await it.settle()
        assert len(await it.ask(it.store.log_marks)) == 2

    async def after(it: World) -> None:
        await it.settle()
        assert [mark.number for mark in await it.ask(it.store.log_marks)] == [1]

    kill_and_restart(tmp_path, before, after)


def test_the_newest_marks_are_kept() -> None:
    marks = LogMarks(most=2)
    marks.load([(b"new", 3), (b"older", 2), (b"oldest", 1)])
    assert [marks.of(name) for name in (b"new", b"older", b"oldest")] == [3, 2, 0]
    marks.note(b"older", 5)
    marks.note(b"another", 1)
    assert [marks.of(name) for name in (b"new", b"older", b"another")] == [0, 5, 1]
    marks.note(b"older", 4)
    assert (marks.of(b"older"), len(marks)) == (5, 2)


def test_what_a_run_logs_that_outlived_its_flow_run_and_a_restart_is_in_the_log_of_the_flow_run(
    tmp_path: Path,
) -> None:
    kept: dict[str, Any] = {}

    async def before(it: World) -> None:
        client, agent = it.client(), it.agent("a")
        flow = await client.start_flow()
        kept["runs"] = await client.submit(flow=flow)
        await assigned(it, agent)
        kept.update(seq=it.runs[flow].seq, session=agent.session_id, held=list(agent.assigned.items()))
        report = sp.FlowReport(run_id=flow, event=FlowEvent.SUCCEEDED)  # type: ignore[arg-type]
        await client.send(flow_reports=[report])
        await it.settle()

    async def after(it: World) -> None:
        agent = it.agent("a", session_id=kept["session"], held=kept["held"])
        assert agent.adopted == kept["runs"]
        agent.send(report_number=1, logs=log_batch(kept["runs"][0], "late"))
        await it.settle()
        assert recorded(tmp_path, kept["seq"]) == ["late"]

    kill_and_restart(tmp_path, before, after)
