"""What an owner removes, and what it never does: on an owner with clients and agents played by the test."""

from collections.abc import Callable
from typing import Any

import pytest
from support.owner_harness import World, assigned, play
from support.retention_scenes import B3, NOW, ended, gone, named, prune, refs, value

from taskyard_api.v1 import run_service_pb2, states_pb2, template_pb2
from taskyard_contract.blobs.names import result_name
from taskyard_contract.errors import ErrorReason, InvalidRequest
from taskyard_contract.id_factory import new_id
from taskyard_contract.states import FlowEvent, ReportKind, RunState, StateReason
from taskyard_controlplane.owner.retention.policy import DAY_US, Policy


@pytest.mark.parametrize("name_of", [lambda _: B3, lambda own: own], ids=["content", "run and epoch"])
def test_an_attempt_names_its_result_by_its_run_or_its_content(name_of: Callable[[str], str]) -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run_id] = await client.submit()
        await assigned(it, agent)
        name = name_of(result_name(run_id, agent.assigned[run_id]))
        agent.report([run_id], kind=ReportKind.SUCCEEDED.value, result=value(name))
        await it.settle()
        assert client.state_of(run_id) == RunState.COMPLETED
        assert await it.ask(lambda: it.store.blobs.orphans([name])) == []

    play(scenario)


@pytest.mark.parametrize("name", ["run-" + "0" * 32 + "-" + "0" * 16, "../../etc/passwd", "b3-0"])
def test_a_result_that_names_what_another_run_made_is_refused(name: str) -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run_id] = await client.submit()
        await assigned(it, agent)
        agent.report([run_id], kind=ReportKind.SUCCEEDED.value, result=value(name))
        await it.settle()
        assert client.state_of(run_id) == RunState.FAILED
        assert client.outcomes[run_id].reason == StateReason.RESULT_REFUSED
        assert name in client.outcomes[run_id].failure.message
        assert await refs(it) == 0

    play(scenario)


def test_arguments_that_name_what_a_run_returned_end_the_stream() -> None:
    async def scenario(it: World) -> None:
        with pytest.raises(Exception, match="make it an upstream run"):
            await it.client().submit(args=[], extras=[named(result_name(new_id(), 1))])

    play(scenario)


def test_a_run_that_takes_a_result_from_the_cache_refers_to_the_same_blob() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        first = await client.submit(cache_keys=["key"])
        [name] = await ended(it, agent, first)
        [second] = await client.submit(cache_keys=["key"])
        await it.settle()
        assert client.state_of(second) == RunState.COMPLETED
        assert client.outcomes[second].result.blob.name == name
        assert await it.ask(lambda: it.store.blobs.referred([name])) == {name: (100_000, 3)}, "and the entry"

    play(scenario)


def test_the_value_of_a_flow_may_be_a_blob_of_its_own_and_no_other() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        for own in (True, False):
            flow = await client.start_flow()
            name = result_name(flow if own else new_id(), 0)
            report = {"run_id": flow, "event": FlowEvent.SUCCEEDED.value, "result": value(name)}
            await client.send(flow_reports=[report])
            await it.settle()
            [row] = await it.ask(lambda: it.store.runs_by_id([flow]))  # noqa: B023
            assert row.state == RunState.COMPLETED
            assert (name.encode() in (row.outcome or b"")) == own
        assert await refs(it) == 1

    play(scenario)


def test_runs_without_blobs_write_nothing_about_blobs() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        await client.submit(50)
        written: list[int] = []
        commit = it.store.commit

        def noted(batch: Any) -> Any:
            written.append(len(batch.blobs_named) + len(batch.blob_refs))
            return commit(batch)

        it.store.commit = noted  # type: ignore[method-assign]
        agent.report(await assigned(it, agent))
        await it.settle()
        assert written
        assert not any(written)

    play(scenario)


# What goes, and what stays.


def test_runs_go_when_their_time_is_over() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        old = await client.submit(3)
        await ended(it, agent, old, value=b"small")
        await gone(it, client)
        it.clock.seconds += 6 * 86_400
        client = it.client()
        young = await client.submit(2)
        await ended(it, agent, young, value=b"small")
        await gone(it, client)
        it.clock.seconds += 86_401
        assert (await prune(it, Policy(runs_us=7 * DAY_US))).runs == 3
        assert set(await it.ask(lambda: it.store.states_by_id(old + young))) == set(young)

    play(scenario)


def test_runs_of_a_session_that_may_ask_for_them_stay() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        names = await ended(it, agent, await client.submit(2))
        client.disconnect()
        assert (await prune(it)).runs == 0, "it may come back"
        assert await it.ask(lambda: it.store.blobs.orphans(names)) == []
        await it.advance_slowly(40, 5.0)
        assert (await prune(it)).runs == 2

    play(scenario)


def test_what_an_open_run_takes_results_from_stays() -> None:
    async def scenario(it: World) -> None:
        first, second, agent = it.client(), it.client(), it.agent()
        source = await first.submit()
        await ended(it, agent, source)
        await gone(it, first)
        [reader] = await second.submit(upstream=[(0, source[0])], queue="nobody")
        await second.submit(queue="nobody")
        await it.settle()
        assert (await prune(it)).runs == 0
        assert reader in it.runs
        await second.send(cancel=[reader])
        await it.settle()
        assert (await prune(it)).runs == 1

    play(scenario)


def test_runs_inside_an_open_flow_run_stay() -> None:
    async def scenario(it: World) -> None:
        client, worker, agent = it.client(), it.client(), it.agent()
        flow = await client.start_flow()
        [caller] = await client.submit(flow=flow)
        await assigned(it, agent)
        worker = it.client(caller_run_id=caller)
        inside = await worker.submit(flow=flow, caller=caller)
        await ended(it, agent, inside)
        await gone(it, worker)
        assert (await prune(it)).runs == 0

    play(scenario)


def test_the_last_runs_of_each_flow_stay_with_what_is_in_them() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        tasks = []
        for _ in range(3):
            flow = await client.start_flow()
            [task] = await client.submit(flow=flow)
            await ended(it, agent, [task], value=b"small")
            await client.send(flow_reports=[{"run_id": flow, "event": FlowEvent.SUCCEEDED.value}])
            tasks.append(task)
        await gone(it, client)
        await it.client().submit()
        assert (await prune(it, Policy(runs_us=0, keep_last=2))).runs == 2
        assert set(await it.ask(lambda: it.store.states_by_id(tasks))) == set(tasks[1:])

    play(scenario)


def test_runs_go_by_how_they_ended() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        good, bad = await client.submit(), await client.submit()
        await ended(it, agent, good, value=b"small")
        await ended(it, agent, bad, kind=ReportKind.FAILED.value)
        await gone(it, client)
        await it.client().submit()
        longer = Policy(runs_us=0, states_us={int(RunState.FAILED): DAY_US})
        only = NOW.pruning(0, frozenset({int(RunState.CANCELLED)}))
        assert (await prune(it, only)).runs == 0
        assert (await prune(it, longer)).runs == 1
        it.clock.seconds += 86_401
        assert (await prune(it, longer)).runs == 1

    play(scenario)


def test_an_id_of_a_run_that_went_is_refused_as_if_it_were_there() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        old = await client.submit(2)
        await ended(it, agent, old, value=b"small")
        await gone(it, client)
        await it.client().submit()
        assert (await prune(it)).runs == 2
        client = it.client()
        [fresh] = await client.submit()
        await client.submit(run_ids=[old[0]])
        await it.settle()
        client.receive()
        assert {run_id: each.error.reason for run_id, each in client.refused.items()} == {
            old[0]: ErrorReason.RUN_EXISTS
        }
        assert fresh in it.runs

    play(scenario)


@pytest.mark.parametrize("holds", [0, 1, 2])
def test_what_a_connected_program_holds_stays_and_what_it_has_let_go_of_does_not(holds: int) -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        ids = [run_id for _ in range(3) for run_id in await client.submit()]
        await ended(it, agent, ids, value=b"small")
        await client.send(holds_from=ids[holds])
        assert (await prune(it)).runs == holds
        assert set(await it.ask(lambda: it.store.states_by_id(ids))) == set(ids[holds:])

    play(scenario)


def test_runs_of_nobody_stay_while_somebody_may_hold_one() -> None:
    async def scenario(it: World) -> None:
        agent = it.agent()
        template = template_pb2.RunTemplate(
            kind=states_pb2.RUN_KIND_TASK, name="task", queue="default", encoding="python/pickle5",
            code=template_pb2.Code(task_name="task"),
        )  # fmt: skip
        new = [run_service_pb2.NewRun(run_id=new_id(), template=template) for _ in range(2)]
        ids = [run.run_id for run in new]
        assert await it.owner.submit_unowned(new, []) == []
        await ended(it, agent, ids, value=b"small")
        client = it.client()
        await client.send(holds_from=ids[1])
        assert (await prune(it)).runs == 1
        await gone(it, client)
        assert (await prune(it)).runs == 1

    play(scenario)


def test_what_a_program_holds_is_said_by_an_id() -> None:
    async def scenario(it: World) -> None:
        with pytest.raises(InvalidRequest, match="holds_from"):
            await it.client().send(holds_from=b"x")

    play(scenario)
