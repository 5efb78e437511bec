"""What runs say reaches the program that it is about."""

from typing import Any

from support.log_batches import logged
from support.owner_harness import Client, World, assigned, play

from taskyard_api.v1 import session_service_pb2 as sp


def output(*run_ids: bytes, name: str = "") -> sp.OutputBatch:
    count = len(run_ids)
    return sp.OutputBatch(
        run_ids=run_ids,
        at_us=range(count),
        streams=[sp.OUTPUT_STREAM_STDOUT] * count,
        data=[b"line\n"] * count,
        run_names=[name] * count if name else [],
    )


def heard(client: Client) -> list[tuple[bytes, str]]:
    told = []
    while (frame := client.session.next_frame()) is not None:
        client.session.written()
        told += zip(frame.output.run_ids, frame.output.run_names, strict=True)
    return told


def test_output_reaches_the_session_of_the_run_and_no_other() -> None:
    async def scenario(it: World) -> None:
        client, other, agent = it.client(), it.client(), it.agent()
        [run] = await client.submit()
        [foreign] = await other.submit()
        await assigned(it, agent)
        agent.send(output=output(run, foreign, b"?" * 16))
        await it.settle()
        assert heard(client) == [(run, "task-0")]
        assert heard(other) == [(foreign, "task-0")]

    play(scenario)


def test_an_agent_speaks_for_its_own_runs_only() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent("a")
        [run] = await client.submit()
        await assigned(it, agent)
        stranger = it.agent("b", credit=0)
        stranger.send(output=output(run))
        await it.settle()
        assert heard(client) == []

    play(scenario)


def test_a_frame_that_comes_again_is_not_shown_again() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run] = await client.submit()
        await assigned(it, agent)
        for _ in range(2):
            agent.send(output=output(run), report_number=1)
        await it.settle()
        assert len(heard(client)) == 1

    play(scenario)


def test_runs_of_runs_are_heard_by_the_program_and_not_by_the_worker() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [outer] = await client.submit()
        await assigned(it, agent)
        worker: Any = Client(it, b"w" * 16, caller_run_id=outer)
        [middle] = await worker.submit()
        await assigned(it, agent)
        further: Any = Client(it, b"v" * 16, caller_run_id=middle)
        [inner] = await further.submit()
        await assigned(it, agent)
        logs = sp.LogBatch(
            run_ids=[inner], at_us=[1], levels=[20], loggers=["t"], messages=["deep"], run_names=["inner"]
        )
        agent.send(output=output(inner, name="inner"), logs=logs)
        await it.settle()
        heard_by_program = []
        while (frame := client.session.next_frame()) is not None:
            client.session.written()
            heard_by_program += [*frame.output.run_names, *frame.logs.messages]
        assert sorted(heard_by_program) == ["deep", "inner"]
        assert heard(worker) == heard(further) == []

    play(scenario)


def test_a_worker_that_executes_run_after_run_speaks_for_the_one_that_called() -> None:
    async def scenario(it: World) -> None:
        client, other, agent = it.client(), it.client(), it.agent(credit=50)
        flow = await client.start_flow()
        [former] = await other.submit()
        [caller] = await client.submit(flow=flow)
        await assigned(it, agent)
        worker: Any = Client(it, b"w" * 16, caller_run_id=former)
        agent.report([former])
        await it.settle()
        inner_flow = await worker.start_flow(flow=flow, caller=caller)
        inside = [
            *await worker.submit(flow=flow, caller=caller),
            *await worker.submit(flow=inner_flow),
        ]
        assert await assigned(it, agent) == inside
        agent.send(output=output(*inside))
        await it.settle()
        assert [run_id for run_id, _ in heard(client)] == inside
        agent.report([caller])
        await it.settle()
        agent.send(output=output(*inside))  # left behind in the flow run
        await it.settle()
        assert [run_id for run_id, _ in heard(client)] == inside
        assert heard(other) == heard(worker) == []

    play(scenario)


def test_what_a_flow_logs_that_a_task_has_called_is_shown_by_the_program() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        own = await client.start_flow()
        [caller] = await client.submit(flow=own)
        await assigned(it, agent)
        worker: Any = Client(it, b"w" * 16, caller_run_id=caller)
        inner = await worker.start_flow(flow=own, caller=caller)
        for session, run, text in ((client, own, "outer"), (worker, inner, "inner"), (worker, own, "forged")):
            logs = sp.LogBatch(run_ids=[run], at_us=[1], levels=[20], loggers=["t"], messages=[text])
            await session.send(logs=logs)
        await it.settle()
        assert logged(client) == ["inner"]  # what it logs itself it shows itself
        assert logged(worker) == []

    play(scenario)


def test_what_threads_of_a_program_log_is_not_sent_to_it() -> None:
    async def scenario(it: World) -> None:
        client, other = it.client(), it.client()
        threads = it.agent(own_session_id=client.session.session_id)
        runs = [*await client.submit(), *await other.submit()]
        await assigned(it, threads)
        logs = sp.LogBatch(
            run_ids=runs, at_us=[1] * 2, levels=[20] * 2, loggers=["t"] * 2, messages=["own", "foreign"]
        )
        threads.send(logs=logs)
        await it.settle()
        assert (logged(client), logged(other)) == ([], ["foreign"])

    play(scenario)


def test_odd_batches_harm_nobody() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run] = await client.submit()
        await assigned(it, agent)
        odd = output(run, run)
        del odd.data[1:]
        odd.at_us[0] = -5
        agent.send(output=odd)
        agent.send(output=sp.OutputBatch(run_ids=[run]))
        await it.settle()
        assert len(heard(client)) == 1

    play(scenario)
