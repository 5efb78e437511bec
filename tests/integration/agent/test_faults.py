"""What an agent does when workers die, hang, or are told to end."""

import asyncio
import os
import pickle
import signal
import time
from pathlib import Path

import psutil
import pytest
from support.agent_process import agent_and_server, alive, eventually
from support.task_codes import COMMANDS, Deadly, call

from taskyard_contract.states import StateReason


@pytest.mark.parametrize(
    ("how", "text"),
    [
        (call("segfault"), "SIGSEGV"),
        (call("exit", 7), "exit code 7"),
        (call("kill", signal.SIGKILL), "SIGKILL"),
        (call("close_sockets"), "SIGKILL"),
    ],
    ids=["segfault", "exit", "kill", "closed sockets"],
)
def test_only_the_run_that_killed_its_worker_is_lost(tmp_path: Path, how: bytes, text: str) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path, slots=1) as (_, server):
            began = time.monotonic()
            before, culprit, *after = server.assign(
                1, [call("echo", 0), how, call("echo", 1), call("echo", 2)]
            )
            await server.until(lambda: culprit in server.lost and len(server.outcomes) == 3)
            assert set(server.lost) == {culprit}
            assert server.lost[culprit].reason == StateReason.WORKER_DIED
            assert text in server.lost[culprit].message
            assert [server.result(run_id) for run_id in (before, *after)] == [0, 1, 2]
            assert time.monotonic() - began < 20, "a lost worker is noticed, not waited for"

    asyncio.run(main())


def test_code_that_kills_every_worker_while_loading_is_given_up(tmp_path: Path) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path) as (_, server):
            server.define(2, pickle.dumps(Deadly()))
            ids = server.assign(2, [b"", b""])
            await server.until(lambda: set(ids) <= set(server.lost))
            assert all("exit code 9" in server.lost[run_id].message for run_id in ids)
            (healthy,) = server.assign(1, [call("echo", 1)])
            await server.until(lambda: healthy in server.outcomes)

    asyncio.run(main())


def test_a_copy_of_a_worker_executes_nothing_and_takes_no_runs(tmp_path: Path) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path, slots=1) as (_, server):
            notes = [tmp_path / "note", tmp_path / "failed"]
            forks = server.assign(1, [call("fork", str(notes[0])), call("fork", str(notes[1]), True)])
            others = server.assign(1, [call("echo", number) for number in range(20)])
            await server.until(lambda: {*forks, *others} <= set(server.outcomes))
            assert [server.result(run_id) for run_id in forks] == [0, 1]
            assert [note.read_text() for note in notes] == ["executed\n"] * 2
            assert [server.result(run_id) for run_id in others] == list(range(20))

    asyncio.run(main())


def test_a_run_over_its_timeout_is_ended_and_others_are_not(tmp_path: Path) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path, slots=1) as (_, server):
            server.define(2, COMMANDS, timeout_ms=300)
            began = time.monotonic()
            before, slow, after = server.assign(2, [call("sleep", 0.1), call("sleep", 30), call("echo", 5)])
            await server.until(lambda: slow in server.lost and after in server.outcomes)
            assert 0.35 < time.monotonic() - began < 15
            assert server.lost[slow].reason == StateReason.TIMED_OUT
            assert "0.3 seconds" in server.lost[slow].message
            assert server.result(after) == 5
            assert before in server.outcomes
            assert slow in server.started

    asyncio.run(main())


def test_cancelling_ends_the_whole_process_group_even_if_it_ignores_term(tmp_path: Path) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path) as (_, server):
            note = tmp_path / "note"
            (run_id,) = server.assign(1, [call("stubborn", str(note))])
            await eventually(lambda: note.exists() and " " in note.read_text())
            pids = [int(pid) for pid in note.read_text().split()]
            began = time.monotonic()
            server.cancel(run_id)
            await server.until(lambda: run_id in server.cancelled)
            assert 1.5 < time.monotonic() - began < 20
            await eventually(lambda: not any(alive(pid) for pid in pids))
            assert run_id not in server.outcomes

    asyncio.run(main())


def test_a_cancelled_run_may_clean_up(tmp_path: Path) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path) as (_, server):
            note = tmp_path / "note"
            (run_id,) = server.assign(1, [call("clean_up", str(note))])
            await eventually(note.exists)
            server.cancel(run_id)
            await server.until(lambda: run_id in server.cancelled)
            assert note.read_text() == "cleaned up"

    asyncio.run(main())


def test_cancelling_runs_that_have_not_started_takes_no_process(tmp_path: Path) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path, slots=1) as (_, server):
            slow, second, third = server.assign(1, [call("sleep", 3.0), call("echo", 2), call("echo", 3)])
            await server.until(lambda: slow in server.started)
            server.cancel(second)
            await server.until(lambda: second in server.cancelled)
            assert slow not in server.outcomes
            await server.until(lambda: third in server.outcomes)
            assert slow in server.outcomes
            assert second not in server.outcomes

    asyncio.run(main())


def test_quick_runs_do_not_wait_behind_a_slow_one(tmp_path: Path) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path) as (_, server):
            before = server.assign(1, [call("echo", 0)] * 20)
            await server.until(lambda: len(server.outcomes) == 20)
            began = time.monotonic()
            finished, slow, *quick = server.assign(
                1, [call("echo", 1), call("sleep", 30), *[call("echo", n) for n in range(20)]]
            )
            await server.until(lambda: {finished, *quick} <= set(server.outcomes))
            assert time.monotonic() - began < 15
            assert slow not in server.outcomes
            assert len(before) == 20

    asyncio.run(main())


def test_a_waiting_run_leaves_its_slot_to_what_it_waits_for(tmp_path: Path) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path, slots=1) as (agent, server):
            note = str(tmp_path / "note")
            waiting, writing = server.assign(1, [call("wait_for_file", note), call("write_file", note)])
            await server.until(lambda: {waiting, writing} <= set(server.outcomes))
            assert server.result(waiting) == "seen"
            # The zygote and one worker are left.
            await eventually(lambda: len(agent.descendants()) == 2)

    asyncio.run(main())


def test_the_death_of_an_agent_takes_its_workers_and_their_children_along(tmp_path: Path) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path) as (agent, server):
            note = tmp_path / "note"
            server.assign(1, [call("stubborn", str(note))])
            await eventually(lambda: note.exists() and " " in note.read_text())
            pids = [process.pid for process in agent.descendants()]
            assert len(pids) >= 4
            os.kill(agent.pid, signal.SIGKILL)
            await eventually(lambda: not any(alive(pid) for pid in pids), 2)

    asyncio.run(main())


def test_the_death_of_the_zygote_is_survived(tmp_path: Path) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path) as (agent, server):
            (slow,) = server.assign(1, [call("sleep", 30)])
            await server.until(lambda: slow in server.started)
            (zygote,) = psutil.Process(agent.pid).children()
            zygote.kill()
            await server.until(lambda: slow in server.lost)
            (after,) = server.assign(1, [call("echo", 1)])
            await server.until(lambda: after in server.outcomes)

    asyncio.run(main())
