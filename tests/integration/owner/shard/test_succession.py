"""What agents say of assignments that are not on record: believed for a lease, of runs that may have them."""

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest
from support.owner_harness import LEASES, Agent, World, assigned, kill_and_restart

from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_contract.states import ReportKind, RunState
from taskyard_controlplane.storage import create_reader

S = RunState
EARLIER: Final = (1 << 32) + 77
"""Of the first owner; above all that it has assigned here."""


async def log_of(it: World, run_id: bytes) -> list[str]:
    [row] = await it.ask(lambda: it.store.runs_by_id([run_id]))
    with closing(create_reader(it.url)) as reader:
        logs = reader.logs(row.seq, 0, 100, 10_000)
        return [log.message for log in logs if not log.logger.startswith("taskyard.")]


async def assert_disbelieved(it: World, run_ids: Iterable[bytes]) -> None:
    """Let an agent name runs as held by it, report them, and log for them: nothing comes of it."""
    run_ids = list(run_ids)
    before = {run_id: it.runs[run_id].state for run_id in run_ids}
    for epoch in (1, EARLIER, (2 << 32) - 1):
        thief = it.agent(f"thief {epoch}", credit=0, held=[(run_id, epoch) for run_id in run_ids])
        assert thief.adopted == []
        logs = sp.LogBatch(
            run_ids=run_ids, at_us=[1] * len(run_ids), levels=[50] * len(run_ids),
            loggers=["l"] * len(run_ids), messages=["forged"] * len(run_ids), run_names=[""] * len(run_ids),
        )  # fmt: skip
        thief.send(report_number=1, logs=logs)
        thief.granted -= len(run_ids)  # so that the report brings no credit
        thief.report(run_ids, epoch=epoch, value=b"forged")
        await it.settle()
    assert {run_id: it.runs[run_id].state for run_id in run_ids} == before
    for run_id in run_ids:
        assert await log_of(it, run_id) == []


@pytest.mark.parametrize("window", [100, 2])
def test_of_a_run_that_was_made_after_a_restart_no_earlier_assignment_is_believed(
    tmp_path: Path, window: int
) -> None:
    """Nor of one of which only a row was kept, and that was read back."""

    async def before(it: World) -> None:
        await it.client().submit(queue="other")
        await it.settle()

    async def after(it: World) -> None:
        client = it.client()
        ids = await client.submit(6)
        [waits] = await client.submit(upstream=[(0, ids[0])])
        await it.settle()
        in_memory = [run_id for run_id in [*ids, waits] if run_id in it.runs]
        assert len(in_memory) >= 2
        assert (len(in_memory) == 7) is (window == 100)
        await assert_disbelieved(it, in_memory)

    kill_and_restart(tmp_path, before, after, window=window)


async def submit(it: World, found: dict[str, Any], **options: Any) -> None:
    """Submit a run, which an agent gets; that it did is not recorded any more."""
    client, agent = it.client(), it.agent("a")
    [found["run"]] = await client.submit(**options)
    await assigned(it, agent)
    found.update(client=client.session.session_id, agent=agent)


def test_what_was_not_recorded_is_believed_for_a_lease(tmp_path: Path) -> None:
    found: dict[str, Any] = {}

    async def before(it: World) -> None:
        await submit(it, found)

    async def after(it: World) -> None:
        old: Agent = found["agent"]
        client = it.client(found["client"])
        await it.advance(LEASES.agent_lease - 1)
        agent = it.agent("a", credit=0, session_id=old.session_id, held=list(old.assigned.items()))
        assert agent.adopted == [found["run"]]
        for _ in range(5):
            agent.heartbeat()
            await it.advance(1)
        agent.report([found["run"]], epoch=old.assigned[found["run"]])
        await it.settle()
        assert client.state_of(found["run"]) == S.COMPLETED, "also later: it has restated it in time"

    kill_and_restart(tmp_path, before, after)


def test_what_was_not_recorded_is_believed_no_more_when_a_lease_is_over(tmp_path: Path) -> None:
    found: dict[str, Any] = {}

    async def before(it: World) -> None:
        await submit(it, found)

    async def after(it: World) -> None:
        it.client(found["client"])
        await it.advance_slowly(LEASES.agent_lease + 1)
        await assert_disbelieved(it, [found["run"]])

    kill_and_restart(tmp_path, before, after)


def test_a_run_that_waited_for_an_open_one_is_held_by_nobody(tmp_path: Path) -> None:
    """When it becomes ready this owner is the first that could assign it."""
    found: dict[str, Any] = {}

    async def before(it: World) -> None:
        client = it.client()
        [found["up"]] = await client.submit(queue="other")
        [found["run"]] = await client.submit(upstream=[(0, found["up"])])
        await it.settle()
        found["client"] = client.session.session_id

    async def after(it: World) -> None:
        it.client(found["client"])
        agent = it.agent("other", queues=("other",))
        assert await assigned(it, agent) == [found["up"]]
        agent.report([found["up"]])
        await it.settle()
        assert it.runs[found["run"]].state == S.READY
        await assert_disbelieved(it, [found["run"]])

    kill_and_restart(tmp_path, before, after)


def test_a_run_whose_upstream_had_ended_may_be_held_already(tmp_path: Path) -> None:
    found: dict[str, Any] = {}

    async def before(it: World) -> None:
        client, agent = it.client(), it.agent("a")
        [up] = await client.submit()
        [found["run"]] = await client.submit(upstream=[(0, up)])
        assert await assigned(it, agent) == [up]
        agent.report([up])
        assert await assigned(it, agent) == [found["run"]]
        found.update(client=client.session.session_id, agent=agent)

    async def after(it: World) -> None:
        old: Agent = found["agent"]
        it.client(found["client"])
        held = [(found["run"], old.assigned[found["run"]])]
        assert it.agent("a", credit=0, session_id=old.session_id, held=held).adopted == [found["run"]]

    kill_and_restart(tmp_path, before, after)


def test_a_retry_that_was_not_due_is_held_by_nobody(tmp_path: Path) -> None:
    found: dict[str, Any] = {}

    async def before(it: World) -> None:
        await submit(it, found, retry={"max_retries": 1, "delays_ms": [20_000]})
        found["agent"].report([found["run"]], kind=ReportKind.FAILED)
        await it.settle()

    async def after(it: World) -> None:
        it.client(found["client"])
        assert it.runs[found["run"]].state == S.AWAITING_RETRY
        await it.advance_slowly(21)
        assert it.runs[found["run"]].state == S.READY
        await assert_disbelieved(it, [found["run"]])

    kill_and_restart(tmp_path, before, after)


def test_a_run_with_a_key_is_held_only_by_whom_it_is_recorded_to_have(tmp_path: Path) -> None:
    found: dict[str, Any] = {}

    async def before(it: World) -> None:
        client = it.client()
        [found["run"]] = await client.submit(cache_keys=["k"])
        await it.settle()
        found["client"] = client.session.session_id

    async def after(it: World) -> None:
        it.client(found["client"])
        assert it.runs[found["run"]].state == S.READY
        await assert_disbelieved(it, [found["run"]])

    kill_and_restart(tmp_path, before, after)
