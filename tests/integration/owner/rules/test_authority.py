"""What peers say about runs of others changes nothing, whatever frame they say it in."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.owner_harness import World, assigned, kill_and_restart, play

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import common_pb2
from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_contract.errors import ErrorReason
from taskyard_contract.states import FlowEvent, RunState, StateReason
from taskyard_controlplane.storage import create_reader

S = RunState


def log(run_id: bytes) -> sp.LogBatch:
    return sp.LogBatch(
        run_ids=[run_id], at_us=[1], levels=[50], loggers=["l"], messages=["forged"], run_names=[""]
    )


async def logged(it: World, run_id: bytes) -> list[str]:
    """Return what peers had recorded in the log of a run."""
    await it.settle()
    [row] = await it.ask(lambda: it.store.runs_by_id([run_id]))
    with closing(create_reader(it.url)) as reader:
        logs = reader.logs(row.seq, 0, 100, 10_000)
        return [log.message for log in logs if not log.logger.startswith("taskyard.")]


@pytest.mark.parametrize("guessed", [0, 1, 5])
def test_an_agent_cannot_report_about_what_another_one_holds(guessed: int) -> None:
    async def scenario(it: World) -> None:
        client, holder, other = it.client(), it.agent("a"), it.agent("b", queues=("other",))
        runs = await client.submit(4)
        await assigned(it, holder)
        epochs = {run_id: holder.assigned[run_id] + guessed for run_id in runs}
        keys = [ap.RunKey(run_id=run_id, epoch=epochs[run_id]) for run_id in runs]
        other.report(runs[:1], epoch=epochs[runs[0]], value=b"forged")
        other.send(
            report_number=9,
            cancelled=keys[1:2],
            lost=[ap.LostRun(key=keys[2], reason=StateReason.CODE_UNAVAILABLE.value)],  # type: ignore[arg-type]
            given_back=keys[3:],
            logs=log(runs[0]),
        )
        await it.settle()
        assert all(it.runs[run_id].agent is holder.agent for run_id in runs)
        assert await logged(it, runs[0]) == []
        holder.report(runs)
        await it.settle()
        assert {client.state_of(run_id) for run_id in runs} == {S.COMPLETED}
        assert set(client.results.values()) == {b"result"}

    play(scenario)


def test_an_agent_cannot_take_over_what_another_one_holds_by_naming_it_in_its_hello() -> None:
    async def scenario(it: World) -> None:
        client, holder = it.client(), it.agent("a")
        [run_id] = await client.submit()
        await assigned(it, holder)
        thief = it.agent("b", held=[(run_id, holder.assigned[run_id])])
        assert thief.adopted == []
        assert it.runs[run_id].agent is holder.agent

    play(scenario)


def test_after_a_restart_only_the_recorded_agent_goes_on_with_a_run(tmp_path: Path) -> None:
    found: dict[str, Any] = {}

    async def before(it: World) -> None:
        client, agent = it.client(), it.agent("a")
        [found["run"]] = await client.submit()
        await assigned(it, agent)
        await client.submit()  # the next commit carries the record of the dispatch
        await it.settle()
        found.update(epoch=agent.assigned[found["run"]], session=client.session.session_id)

    async def after(it: World) -> None:
        client, run_id, epoch = it.client(found["session"]), found["run"], found["epoch"]
        thief = it.agent("b", credit=0, held=[(run_id, epoch)])
        thief.report([run_id], epoch=epoch, value=b"forged")
        thief.send(report_number=2, logs=log(run_id))
        assert thief.adopted == []
        holder = it.agent("a", credit=0, held=[(run_id, epoch)])
        assert holder.adopted == [run_id]
        holder.report([run_id], epoch=epoch)
        await it.settle()
        client.receive()
        assert client.results == {run_id: b"result"}
        assert await logged(it, run_id) == []

    kill_and_restart(tmp_path, before, after)


def test_a_session_cannot_end_report_about_log_for_or_add_to_a_flow_run_of_another_one() -> None:
    async def scenario(it: World) -> None:
        owner, other = it.client(), it.client()
        flow = await owner.start_flow()
        inside = await owner.submit(flow=flow, queue="nobody")
        [added] = await other.submit(flow=flow)
        await other.send(
            cancel=[flow, *inside],
            withdraw=inside,
            logs=log(flow),
            flow_reports=[sp.FlowReport(run_id=flow, event=FlowEvent.SUCCEEDED.value)],  # type: ignore[arg-type]
        )
        await it.settle()
        other.receive()
        assert other.refused[added].error.reason == ErrorReason.PERMISSION_DENIED
        assert other.refused[flow].error.reason == ErrorReason.PERMISSION_DENIED
        assert it.runs[flow].state == S.RUNNING
        assert it.runs[inside[0]].state == S.READY
        assert await logged(it, flow) == []
        await owner.send(logs=log(flow), cancel=inside)
        assert await logged(it, flow) == ["forged"]
        assert owner.state_of(inside[0]) == S.CANCELLED

    play(scenario)


def test_a_session_that_was_opened_in_a_task_run_adds_to_the_flow_run_around_it() -> None:
    async def scenario(it: World) -> None:
        owner, agent = it.client(), it.agent()
        flow = await owner.start_flow()
        [caller] = await owner.submit(flow=flow)
        await assigned(it, agent)
        nested = it.client(caller_run_id=caller)
        [added] = await nested.submit(flow=flow)
        await it.settle()
        nested.receive()
        assert nested.refused == {}
        assert it.runs[added].flow is it.runs[flow]
        elsewhere = it.client(caller_run_id=(await owner.submit())[0])
        [foreign] = await elsewhere.submit(flow=flow)
        elsewhere.receive()
        assert elsewhere.refused[foreign].error.reason == ErrorReason.PERMISSION_DENIED

    play(scenario)


def test_a_session_that_was_opened_in_the_name_of_a_flow_run_adds_to_that_and_to_no_other() -> None:
    async def scenario(it: World) -> None:
        owner, stranger = it.client(), it.client()
        flow, other = await owner.start_flow(), await stranger.start_flow()
        [task_run] = await owner.submit(flow=flow, queue="nobody")
        inside = it.client(caller_run_id=flow)
        [added] = await inside.submit(flow=flow)
        [elsewhere] = await inside.submit(flow=other)
        [claimed] = await stranger.submit(flow=flow, caller=flow)
        forged = it.client(caller_run_id=b"f" * 16)
        [made_up] = await forged.submit(flow=flow)
        in_a_task = it.client(caller_run_id=task_run)
        [misplaced] = await in_a_task.submit(flow=task_run)
        [own_misplaced] = await owner.submit(flow=task_run)
        await it.settle()
        for client in (owner, stranger, inside, forged, in_a_task):
            client.receive()
        assert inside.refused.keys() == {elsewhere}
        assert it.runs[added].flow is it.runs[flow]
        for client, run_id in [(inside, elsewhere), (stranger, claimed), (forged, made_up)]:
            assert client.refused[run_id].error.reason == ErrorReason.PERMISSION_DENIED
        for client, run_id in [(in_a_task, misplaced), (owner, own_misplaced)]:
            assert client.refused[run_id].error.reason == ErrorReason.INVALID_REQUEST
            assert "is no flow run" in client.refused[run_id].message

    play(scenario)


def test_a_session_in_the_name_of_a_flow_run_adds_nothing_once_that_has_ended() -> None:
    async def scenario(it: World) -> None:
        owner = it.client()
        flow = await owner.start_flow()
        inside = it.client(caller_run_id=flow)
        await owner.send(
            flow_reports=[sp.FlowReport(run_id=flow, event=FlowEvent.SUCCEEDED.value)],  # type: ignore[arg-type]
        )
        await it.settle()
        assert flow not in it.runs
        [late] = await inside.submit(flow=flow)
        inside.receive()
        assert inside.refused[late].error.reason == ErrorReason.RUN_NOT_FOUND
        assert "has ended" in inside.refused[late].message

    play(scenario)


@pytest.mark.parametrize("restarted", [False, True])
def test_a_task_run_adds_to_its_flow_run_for_a_moment_after_it_has_ended(
    tmp_path: Path, restarted: bool
) -> None:
    """What it began in a thread goes on, and frames are under way when its end is reported."""
    found: dict[str, Any] = {}

    async def before(it: World) -> None:
        owner, agent = it.client(), it.agent()
        flow = await owner.start_flow()
        [caller] = await owner.submit(flow=flow)
        await assigned(it, agent)
        agent.report([caller])
        await it.settle()
        assert caller not in it.runs
        found.update(flow=flow, caller=caller, owner=owner.session.session_id)
        if not restarted:
            await after(it)

    async def after(it: World) -> None:
        flow, caller = found["flow"], found["caller"]
        it.client(found["owner"])
        nested = it.client(caller_run_id=caller)
        [added] = await nested.submit(flow=flow)
        await it.settle()
        nested.receive()
        assert nested.refused == {}
        assert it.runs[added].flow is it.runs[flow]
        unknown = it.client(caller_run_id=b"x" * 16)
        [refused] = await unknown.submit(flow=flow)
        unknown.receive()
        assert "belongs to another session" in unknown.refused[refused].message
        await it.advance_slowly(61)
        [late] = await nested.submit(flow=flow)
        nested.receive()
        assert nested.refused[late].error.reason == ErrorReason.PERMISSION_DENIED
        assert "ended more than 60 seconds ago" in nested.refused[late].message

    if restarted:
        kill_and_restart(tmp_path, before, after)
    else:
        play(before)


def test_a_result_is_in_the_encoding_that_its_template_names() -> None:
    """What a worker says of it is not believed: whoever reads it decides by that name what to execute."""

    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        pickle = common_pb2.Payload(encoding="python/pickle5", data=b"evil")
        ids = await client.submit(2, encoding="json/plain")
        await assigned(it, agent)
        agent.report(ids[:1], kind=1, result=pickle)
        agent.report(ids[1:], kind=1, result=common_pb2.Payload(data=b"1"))
        await it.settle()
        assert client.state_of(ids[0]) == S.FAILED
        refused = client.outcomes[ids[0]]
        assert refused.reason == StateReason.RESULT_REFUSED
        assert "'python/pickle5'" in refused.message
        assert not refused.HasField("result")
        assert client.outcomes[ids[1]].result == common_pb2.Payload(encoding="json/plain", data=b"1")

    play(scenario)


def test_a_pickled_exception_is_kept_only_where_arguments_are_pickles_too() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        encoded = common_pb2.Payload(encoding="python/pickle5", data=b"evil")
        cause = {"type": "C", "encoded": encoded}
        [pickled] = await client.submit(encoding="python/pickle5", result_encoding="json/plain")
        [plain] = await client.submit(encoding="json/plain", result_encoding="python/pickle5")
        await assigned(it, agent)
        agent.report([pickled, plain], kind=2, failure={"type": "E", "encoded": encoded, "cause": cause})
        await it.settle()
        client.receive()
        kept, stripped = client.outcomes[pickled].failure, client.outcomes[plain].failure
        assert (kept.encoded, kept.cause.encoded) == (encoded, encoded)
        assert (stripped.type, stripped.cause.type) == ("E", "C")
        assert (stripped.HasField("encoded"), stripped.cause.HasField("encoded")) == (False, False)

    play(scenario)


def chunk_of(agent: Any, run_id: bytes) -> tuple[ap.ChunkBody, int]:
    body, position = agent.bodies[run_id]
    return body, position


def test_inputs_in_another_encoding_than_that_of_arguments_are_labelled() -> None:
    """Also those that were read back from the database, and those of a run that had ended before."""

    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [pickled] = await client.submit()
        [plain] = await client.submit(encoding="json/plain")
        await assigned(it, agent)
        agent.report([pickled], value=b"pickle")
        agent.report([plain], value=b"[1]")
        await it.settle()
        edges = [(0, pickled), (0, plain)]
        [to_json] = await client.submit(upstream=edges, encoding="json/plain")
        [to_pickle] = await client.submit(upstream=edges)
        await assigned(it, agent)
        labels = {}
        for run_id in (to_json, to_pickle):
            body, _ = chunk_of(agent, run_id)
            labels[run_id] = {other.run_id: other.result.encoding for other in body.others}
        assert labels[to_json] == {pickled: "python/pickle5", plain: "json/plain"}
        assert labels[to_pickle] == {plain: "json/plain"}
        assert agent.inputs_of(to_pickle) == {pickled: b"pickle", plain: b"[1]"}
        assert agent.inputs_of(to_json) == {pickled: b"pickle", plain: b"[1]"}

    play(scenario)


def test_arguments_keep_what_is_said_of_them(tmp_path: Path) -> None:
    """Their encoding, type, key and signature, from the client to the worker, over a restart."""
    found: dict[str, Any] = {}
    payload = common_pb2.Payload(encoding="json/plain", type="T", key_id="k", signature=b"s", data=b"{}")
    blob = common_pb2.Payload(encoding="x/y", blob=common_pb2.BlobRef(digest=b"d" * 32, size=9))

    async def before(it: World) -> None:
        client = it.client()
        found["ids"] = ids = await client.submit(3, args=[b"", b"", b"bare"], extras=[payload, blob])
        await it.settle()
        assert set(ids) <= it.runs.keys()

    async def after(it: World) -> None:
        agent = it.agent()
        await assigned(it, agent)
        first, second, third = found["ids"]
        body, position = chunk_of(agent, first)
        extras = {extra.position: extra for extra in body.extras}
        assert (extras[position].payload, body.args[position]) == (payload, b"")
        body, position = chunk_of(agent, second)
        extras = {extra.position: extra for extra in body.extras}
        assert extras[position].payload == blob
        body, position = chunk_of(agent, third)
        assert body.args[position] == b"bare"
        assert [named for chunk in agent.chunks for named in chunk.blobs] == [blob.blob]

    kill_and_restart(tmp_path, before, after)
