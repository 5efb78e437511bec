"""Coroutines in an agent: many in one process, and what becomes of them when it ends or is kept."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
from support.agent_process import agent_and_server, alive, eventually
from support.coroutine_codes import COROUTINES, call
from support.scripted_controlplane import ScriptedControlPlane

from taskyard_contract.states import StateReason

CODE = 7
LIMITED = 8


def with_coroutines(server: ScriptedControlPlane) -> None:
    server.define(CODE, COROUTINES, coroutine=True)
    server.define(LIMITED, COROUTINES, coroutine=True, timeout_ms=300)


async def read(note: Path) -> int:
    await eventually(lambda: note.exists() and bool(note.read_text()), 20)
    return int(note.read_text())  # noqa: ASYNC240 - a few bytes


def test_coroutines_go_on_together_in_one_process_and_one_loop(tmp_path: Path) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path, slots=1, prepare=with_coroutines) as (_, server):
            meeting = tmp_path / "meeting"
            meeting.mkdir()
            ids = server.assign(CODE, [call("meet", str(meeting), 50)] * 50)
            await server.until(lambda: set(ids) <= set(server.outcomes))
            assert len({server.result(run_id) for run_id in ids}) == 1
            loops = [*server.assign(CODE, [call("loop")]), *server.assign(CODE, [call("loop")])]
            await server.until(lambda: set(loops) <= set(server.outcomes))
            assert server.result(loops[0]) == server.result(loops[1]), "libraries keep things for their loop"

    asyncio.run(main())


def test_credit_for_coroutines_is_granted_apart_from_slots(tmp_path: Path) -> None:
    async def main() -> None:
        options = ("--coroutines", "10")
        async with agent_and_server(tmp_path, *options, slots=2, prepare=with_coroutines) as (_, server):
            assert server.stream.hello.coroutines == 20
            await server.until(
                lambda: any(frame.credit.coroutines_granted_total == 20 for frame in server.stream.frames)
            )
            server.assign(CODE, [call("pid", 30.0)] * 20)
            (plain,) = server.assign(1, [call("echo", 5)])
            await server.until(lambda: plain in server.outcomes)

    asyncio.run(main())


def test_a_server_that_does_not_count_apart_is_served_as_before(tmp_path: Path) -> None:
    def old(server: ScriptedControlPlane) -> None:
        with_coroutines(server)
        server.capabilities = []

    async def main() -> None:
        async with agent_and_server(tmp_path, slots=1, prepare=old) as (_, server):
            ids = server.assign(CODE, [call("pid", 0.0)] * 3)
            await server.until(lambda: set(ids) <= set(server.outcomes))
            credits = [frame.credit for frame in server.stream.frames if frame.HasField("credit")]
            assert not any(credit.coroutines_granted_total for credit in credits)

    asyncio.run(main())


def test_a_coroutine_is_ended_by_its_timeout_and_the_process_goes_on(tmp_path: Path) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path, slots=1, prepare=with_coroutines) as (_, server):
            note = tmp_path / "note"
            (other,) = server.assign(CODE, [call("pid", 1.5)])
            (slow,) = server.assign(LIMITED, [call("clean_up", str(note))])
            await server.until(lambda: {slow, other} <= set(server.outcomes))
            text = "the attempt exceeded its timeout of 0.3 seconds and was ended"
            assert (server.failed(slow).reason, server.failed(slow).message) == (StateReason.TIMED_OUT, text)
            assert note.read_text() == text, "it may clean up"
            (again,) = server.assign(CODE, [call("pid", 0.0)])
            await server.until(lambda: again in server.outcomes)
            assert server.result(again) == server.result(other)
            assert not server.lost

    asyncio.run(main())


def test_a_cancelled_coroutine_ends_alone(tmp_path: Path) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path, slots=1, prepare=with_coroutines) as (_, server):
            notes = [tmp_path / "pid", tmp_path / "cleaned"]
            (other,) = server.assign(CODE, [call("note", str(notes[0]), 2.0)])
            (gone,) = server.assign(CODE, [call("clean_up", str(notes[1]))])
            pid = await read(notes[0])
            server.cancel(gone)
            await server.until(lambda: gone in server.cancelled)
            assert notes[1].read_text() == "cancelled"
            await server.until(lambda: other in server.outcomes)
            assert (server.result(other), alive(pid), gone in server.outcomes) == (pid, True, False)

    asyncio.run(main())


def test_a_coroutine_that_is_cancelled_before_it_began_never_begins(tmp_path: Path) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path, slots=1, prepare=with_coroutines) as (_, server):
            note = tmp_path / "note"
            ids = server.assign(CODE, [call("note", str(note), 0.0)])
            server.cancel(*ids)
            await server.until(lambda: ids[0] in server.cancelled or ids[0] in server.outcomes)
            (after,) = server.assign(CODE, [call("pid")])
            await server.until(lambda: after in server.outcomes)

    asyncio.run(main())


@pytest.mark.parametrize("how", ["timeout", "cancellation"])
def test_a_coroutine_that_swallows_its_end_is_ended_with_its_process_and_others_are_repeated(
    tmp_path: Path, how: str
) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path, slots=1, prepare=with_coroutines) as (_, server):
            note = tmp_path / "note"
            others = server.assign(CODE, [call("pid", 20.0)] * 3)
            index = LIMITED if how == "timeout" else CODE
            (stubborn,) = server.assign(index, [call("swallow", str(note))])
            pid = await read(note)
            if how == "cancellation":
                server.cancel(stubborn)
            await server.until(lambda: set(others) <= set(server.lost))
            assert {server.lost[run_id].reason for run_id in others} == {StateReason.WORKER_DIED}
            assert "on account of one of these" in server.lost[others[0]].message
            if how == "timeout":
                await server.until(lambda: stubborn in server.lost)
                assert server.lost[stubborn].reason == StateReason.TIMED_OUT
            else:
                await server.until(lambda: stubborn in server.cancelled)
            await eventually(lambda: not alive(pid))

    asyncio.run(main())


def test_code_that_keeps_the_loop_is_named_and_new_coroutines_begin_elsewhere(tmp_path: Path) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path, slots=1, prepare=with_coroutines) as (_, server):
            note = tmp_path / "note"
            (keeps,) = server.assign(CODE, [call("block", 4.0, str(note))])
            pid = await read(note)
            await server.until(lambda: any(run_id == keeps for run_id, _ in server.logs))
            [text] = [text for run_id, text in server.logs if run_id == keeps]
            assert "keeps the event loop" in text
            assert "coroutine_codes.py" in text
            assert "in do_block" in text
            (after,) = server.assign(CODE, [call("pid")])
            await server.until(lambda: after in server.outcomes)
            assert server.result(after) != pid
            assert keeps not in server.outcomes, "it did not wait for that"
            await server.until(lambda: keeps in server.outcomes)
            assert server.result(keeps) == pid
            assert len(server.logs) == 1, "once"

    asyncio.run(main())


def test_what_ended_is_told_although_the_loop_is_kept(tmp_path: Path) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path, slots=1, prepare=with_coroutines) as (_, server):
            began = time.monotonic()
            quick, keeps = server.assign(CODE, [call("loop"), call("block", 4.0)])
            await server.until(lambda: quick in server.outcomes)
            assert keeps not in server.outcomes
            assert time.monotonic() - began < 4

    asyncio.run(main())


def test_the_death_of_a_lane_loses_what_was_live_and_nothing_else(tmp_path: Path) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path, slots=1, prepare=with_coroutines) as (_, server):
            note = tmp_path / "note"
            done = server.assign(CODE, [call("pid")] * 3)
            await server.until(lambda: set(done) <= set(server.outcomes))
            live = [
                *server.assign(CODE, [call("note", str(note), 60.0)]),
                *server.assign(CODE, [call("pid", 60.0)]),
            ]
            os.kill(await read(note), signal.SIGKILL)
            await server.until(lambda: set(live) <= set(server.lost))
            assert set(server.lost) == set(live)
            assert {lost.reason for lost in server.lost.values()} == {StateReason.WORKER_DIED}
            assert "which of them ended it is not known" in server.lost[live[0]].message
            (after,) = server.assign(CODE, [call("pid")])
            await server.until(lambda: after in server.outcomes)

    asyncio.run(main())


def test_a_run_that_waits_for_others_takes_no_room(tmp_path: Path) -> None:
    async def main() -> None:
        options = ("--coroutines", "2")
        async with agent_and_server(tmp_path, *options, slots=1, prepare=with_coroutines) as (_, server):
            note = tmp_path / "note"
            waits = server.assign(CODE, [call("wait", str(note), False)] * 2)
            await server.until(
                lambda: any(frame.credit.coroutines_granted_total > 2 for frame in server.stream.frames)
            )
            (touches,) = server.assign(CODE, [call("touch", str(note))])
            await server.until(lambda: {*waits, touches} <= set(server.outcomes))
            assert len({server.result(run_id) for run_id in (*waits, touches)}) == 1, "the loop went round"

    asyncio.run(main())


def test_code_that_keeps_the_loop_while_it_waits_gets_what_it_waits_for(tmp_path: Path) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path, slots=1, prepare=with_coroutines) as (_, server):
            note = tmp_path / "note"
            (waits,) = server.assign(CODE, [call("wait", str(note), True)])
            chunk, [nested] = server.chunk(CODE, [call("touch", str(note))])
            chunk.nested, chunk.caller_run_id = True, waits
            server.send(chunk)
            await server.until(lambda: {waits, nested} <= set(server.outcomes))

    asyncio.run(main())


def test_what_a_run_submits_is_executed_in_another_process(tmp_path: Path) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path, slots=1, prepare=with_coroutines) as (_, server):
            notes = [tmp_path / "begun", tmp_path / "note"]
            (caller,) = server.assign(CODE, [call("note", str(notes[0]), 5.0)])
            pid = await read(notes[0])
            chunk, [nested] = server.chunk(CODE, [call("pid")])
            chunk.nested, chunk.caller_run_id = True, caller
            server.send(chunk)
            await server.until(lambda: nested in server.outcomes)
            assert server.result(nested) != pid

    asyncio.run(main())


def test_a_copy_of_a_lane_executes_nothing_further(tmp_path: Path) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path, slots=1, prepare=with_coroutines) as (_, server):
            notes = [tmp_path / "note", tmp_path / "other"]
            others = [call("append", str(notes[1]), 0.2)] * 5
            ids = server.assign(CODE, [*others, call("fork", str(notes[0])), *others])
            await server.until(lambda: set(ids) <= set(server.outcomes))
            assert notes[0].read_text().split().count("True") == 1
            lines = notes[1].read_text().split()
            assert (len(lines), len(set(lines))) == (10, 1), "the copy did not go on with others"

    asyncio.run(main())


def test_an_exit_beside_a_run_does_not_end_the_lane(tmp_path: Path) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path, slots=1, prepare=with_coroutines) as (_, server):
            (run_id,) = server.assign(CODE, [call("exits_beside")])
            await server.until(lambda: run_id in server.outcomes)
            assert server.result(run_id) == "SystemExit"

    asyncio.run(main())


def test_runs_whose_process_died_twice_with_several_are_executed_apart(tmp_path: Path) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path, slots=1, prepare=with_coroutines) as (_, server):
            ids = server.assign(CODE, [call("pid", 0.3), call("die", signal.SIGKILL)])
            for _ in range(2):
                await server.until(lambda: set(ids) <= set(server.lost))
                server.lost.clear()
                for run_id in ids:
                    server._assign_again(run_id)
            await server.until(lambda: ids[0] in server.outcomes and ids[1] in server.lost)
            assert ids[0] not in server.lost
            assert "not known" not in server.lost[ids[1]].message

    asyncio.run(main())


def test_what_had_not_begun_when_its_lane_died_is_executed_elsewhere(tmp_path: Path) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path, slots=1, prepare=with_coroutines) as (_, server):
            dies, *others = server.assign(CODE, [call("die_at_once", signal.SIGKILL), *[call("pid")] * 20])
            await server.until(lambda: set(others) <= set(server.outcomes) and dies in server.lost)
            assert set(server.lost) == {dies}
            assert "not known" not in server.lost[dies].message

    asyncio.run(main())


def test_a_leaving_agent_finishes_coroutines_and_gives_back_the_rest(tmp_path: Path) -> None:
    async def main() -> None:
        options = ("--coroutines", "2")
        async with agent_and_server(tmp_path, *options, slots=1, prepare=with_coroutines) as (agent, server):
            note = tmp_path / "note"
            server.reassign = False
            ids = server.assign(CODE, [call("note", str(note), 1.0), *[call("pid", 1.0)] * 3])
            await read(note)
            agent.terminate()
            assert await agent.exit_code() == 0
            assert set(ids) == {*server.outcomes, *server.given_back}
            assert len(server.given_back) == 2

    asyncio.run(main())
