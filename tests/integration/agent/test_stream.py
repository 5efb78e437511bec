"""What an agent does when its stream breaks, its lease lapses, or somebody stops it."""

import asyncio
import signal
import socket
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from support.agent_process import AgentProcess, agent_and_server, alive, eventually
from support.scripted_controlplane import ScriptedControlPlane, scripted
from support.task_codes import call

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract.agent_link import AgentStream, Demand, Identity, LinkSession, stream
from taskyard_contract.clock import SystemClock
from taskyard_contract.errors import Superseded, TaskyardError, UnknownSession, UnsupportedProtocol
from taskyard_contract.states import StateReason
from taskyard_contract.transport.channels import SERVER_OPTIONS


def test_a_broken_stream_kills_no_work_and_loses_no_report(tmp_path: Path) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path) as (_, server):
            server.acknowledge = False
            (done,) = server.assign(1, [call("echo", 1)])
            await server.until(lambda: done in server.outcomes)
            (slow,) = server.assign(1, [call("sleep", 1.5)])
            await server.until(lambda: slow in server.started)
            server.acknowledge = True
            server.stream.outbound.put_nowait(None)
            await server.until(lambda: len(server.streams) == 2)
            hello = server.stream.hello
            assert {key.run_id for key in hello.held} == {done, slow}
            assert hello.session_id == server.streams[0].hello.session_id
            await server.until(lambda: server.reports[done] == 2)
            await server.until(lambda: slow in server.outcomes)
            assert server.reports[slow] == 1
            await server.until(lambda: server.stream.credit >= 2)

    asyncio.run(main())


def test_an_acknowledged_report_is_not_repeated(tmp_path: Path) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path) as (_, server):
            (done,) = server.assign(1, [call("echo", 1)])
            await server.until(lambda: done in server.outcomes)
            await server.until(lambda: server.stream.frames[-1].heartbeat > 1)
            server.stream.outbound.put_nowait(None)
            await server.until(lambda: len(server.streams) == 2 and server.stream.granted > 0)
            assert not server.stream.hello.held
            assert server.reports[done] == 1

    asyncio.run(main())


class _Idle:
    """Executes nothing."""

    def demand(self) -> Demand:
        return Demand(0, 0, 1)

    def held(self) -> list[pb.RunKey]:
        return []

    def on_welcome(self, welcome: pb.AgentWelcome) -> None:
        """Nothing depends on it."""

    def on_doubt(self, doubtful: bool) -> None:
        """Nothing would be started."""


def test_a_stream_that_nobody_has_answered_yet_ends_when_it_is_told_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream, "HANDSHAKE_SECONDS", 3600.0)

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            silent.setblocking(False)
            session = LinkSession(Identity("a", b"s" * 16, "a", ("default",), 1), _Idle())  # type: ignore[arg-type]
            link = AgentStream(f"127.0.0.1:{silent.getsockname()[1]}", session, SystemClock())
            running = asyncio.create_task(link.run())
            accepted, _ = await asyncio.get_running_loop().sock_accept(silent)
            with accepted:
                link.stop()
                done, _ = await asyncio.wait({running}, timeout=30)
                assert done, "it waits for a welcome that does not come"

    asyncio.run(main())


class _Talkative(LinkSession):
    """Always has something more to say than a connection takes that nobody reads."""

    def next_frame(self) -> pb.AgentFrame | None:
        return pb.AgentFrame(condition="x" * 100_000)


async def _deaf_server(streams: asyncio.Queue[None]) -> tuple[aio.Server, str]:
    """Start a server that welcomes agents, and neither reads nor says anything after that."""

    async def welcome(_: object, context: Any) -> None:
        await context.read()
        await context.write(
            pb.ServerFrame(welcome=pb.AgentWelcome(protocol=2, lease_ms=3_000, heartbeat_ms=100))
        )
        streams.put_nowait(None)
        await asyncio.Event().wait()

    handler = grpc.stream_stream_rpc_method_handler(
        welcome, pb.AgentFrame.FromString, lambda frame: frame.SerializeToString()
    )
    service = pb.DESCRIPTOR.services_by_name["AgentService"].full_name
    server = aio.server(options=SERVER_OPTIONS)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Connect": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, f"127.0.0.1:{port}"


def test_a_server_that_does_not_read_any_more_is_dialled_again() -> None:
    async def main() -> None:
        streams: asyncio.Queue[None] = asyncio.Queue()
        server, address = await _deaf_server(streams)
        identity = Identity("a", b"s" * 16, "a", ("default",), 1)
        link = AgentStream(address, _Talkative(identity, _Idle()), SystemClock())  # type: ignore[arg-type]
        running = asyncio.create_task(link.run())
        async with asyncio.timeout(30):
            await streams.get()
            again = asyncio.create_task(streams.get())
            await asyncio.wait({running, again}, return_when=asyncio.FIRST_COMPLETED)
        assert not running.done(), "what it could not write any more has ended it"
        running.cancel()
        await asyncio.wait({running})
        await server.stop(0)

    asyncio.run(main())


def test_runs_that_the_server_drops_are_ended_silently(tmp_path: Path) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path) as (agent, server):
            note = tmp_path / "note"
            (slow,) = server.assign(1, [call("sleep", 30, str(note))])
            await server.until(lambda: slow in server.started)
            server.drop = lambda hello: hello.held
            server.stream.outbound.put_nowait(None)
            await eventually(lambda: not alive(int(note.read_text())))
            (after,) = server.assign(1, [call("echo", 1)])
            await server.until(lambda: after in server.outcomes)
            assert slow not in server.outcomes
            assert slow not in server.lost
            assert slow not in server.cancelled
            assert agent.process.returncode is None

    asyncio.run(main())


def test_a_lapsed_lease_ends_what_executes_and_the_server_hears_of_it(tmp_path: Path) -> None:
    def prepare(server: ScriptedControlPlane) -> None:
        server.lease_ms, server.heartbeat_ms = 1000, 100

    async def main() -> None:
        async with agent_and_server(tmp_path, prepare=prepare) as (_, server):
            note = tmp_path / "note"
            (slow,) = server.assign(1, [call("sleep", 30, str(note))])
            await server.until(lambda: slow in server.started)
            await eventually(lambda: note.exists() and note.read_text())  # a little later on a busy machine
            address = server.address
            await server.stop()
            assert alive(int(note.read_text()))
            await eventually(lambda: not alive(int(note.read_text())))
            await server.start(address)
            await server.until(lambda: len(server.streams) == 2)
            assert [key.run_id for key in server.stream.hello.held] == [slow], "it may be counted on"
            await server.until(lambda: slow in server.lost)

    asyncio.run(main())


def test_a_server_that_answers_no_heartbeat_is_dialled_again(tmp_path: Path) -> None:
    def prepare(server: ScriptedControlPlane) -> None:
        server.lease_ms, server.heartbeat_ms = 1000, 100
        server.answer_heartbeats = False

    async def main() -> None:
        async with agent_and_server(tmp_path, prepare=prepare) as (_, server):
            await server.until(lambda: len(server.streams) >= 2, 5)

    asyncio.run(main())


def test_draining_returns_what_has_not_started_and_finishes_the_rest(tmp_path: Path) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path, slots=1) as (agent, server):
            server.reassign = False
            running, *waiting = server.assign(1, [call("sleep", 1.0)] * 3)
            await server.until(lambda: running in server.started)
            agent.terminate()
            assert await agent.exit_code() == 0
            assert server.draining
            assert running in server.outcomes
            assert sorted(server.given_back) == sorted(waiting)

    asyncio.run(main())


def test_a_server_may_ask_an_agent_to_leave(tmp_path: Path) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path) as (agent, server):
            server.stream.outbound.put_nowait(pb.ServerFrame(drain=True))
            assert await agent.exit_code() == 0
            assert server.draining

    asyncio.run(main())


def test_a_run_that_outlasts_the_grace_is_reported_lost(tmp_path: Path) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path, "--grace", "0.3") as (agent, server):
            (slow,) = server.assign(1, [call("sleep", 30)])
            await server.until(lambda: slow in server.started)
            agent.terminate()
            assert await agent.exit_code() == 0
            assert server.lost[slow].reason == StateReason.WORKER_DIED
            assert "agent stopped" in server.lost[slow].message

    asyncio.run(main())


def test_a_second_signal_ends_the_agent_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path) as (agent, server):
            (slow,) = server.assign(1, [call("sleep", 30)])
            await server.until(lambda: slow in server.started)
            workers = [process.pid for process in agent.descendants()]
            agent.terminate()
            await server.until(lambda: server.draining)
            began = time.monotonic()
            agent.process.send_signal(signal.SIGINT)
            assert await agent.exit_code() == 1
            assert time.monotonic() - began < 15, "not after its grace of 30 seconds"
            await eventually(lambda: not any(alive(pid) for pid in workers))

    asyncio.run(main())


def test_a_terminal_refusal_stops_the_agent(tmp_path: Path) -> None:
    async def main() -> None:
        async with scripted() as server:
            server.refusal = UnsupportedProtocol()
            refused = await AgentProcess.start(server.address, tmp_path)
            assert await refused.exit_code() == 1
        async with agent_and_server(tmp_path) as (agent, server):
            # Of a stream that is refused while the agent is writing gRPC says no more than "internal error",
            # now and then. The agent comes back, and is refused again.
            server.refusal = Superseded()
            server.stream.outbound.put_nowait(Superseded())
            assert await agent.exit_code() == 1

    asyncio.run(main())


def test_an_agent_whose_refusal_was_hidden_hears_it_when_it_comes_back(tmp_path: Path) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path) as (agent, server):
            server.refusal = Superseded()
            server.stream.outbound.put_nowait(TaskyardError("Internal error from Core"))
            assert await agent.exit_code() == 1

    asyncio.run(main())


def test_an_agent_whose_lease_has_lapsed_says_hello_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path) as (_, server):
            server.stream.outbound.put_nowait(UnknownSession("the lease has lapsed"))
            await server.until(lambda: len(server.streams) == 2)
            (run_id,) = server.assign(1, [call("echo", 1)])
            await server.until(lambda: run_id in server.outcomes)

    asyncio.run(main())


def test_a_server_that_is_stopping_is_left_and_found_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path) as (_, server):
            server.stream.outbound.put_nowait(pb.ServerFrame(reconnect_after_ms=50))
            await server.until(lambda: len(server.streams) == 2)
            (run_id,) = server.assign(1, [call("echo", 1)])
            await server.until(lambda: run_id in server.outcomes)

    asyncio.run(main())


def test_credit_grows_with_quick_runs_and_is_taken_back_from_slow_ones(tmp_path: Path) -> None:
    async def main() -> None:
        async with agent_and_server(tmp_path) as (_, server):
            server.reassign = False
            await server.until(lambda: server.stream.credit == 2)
            for _ in range(12):
                quick = server.assign(1, [call("echo", 1)] * server.stream.chunk_size)
                await server.until(lambda quick=quick: set(quick) <= set(server.outcomes))
            await server.until(lambda: server.stream.credit > 100)
            slow = server.assign(1, [call("sleep", 0.3)] * 40)
            await server.until(lambda: server.stream.credit <= 4)
            await server.until(lambda: len(server.given_back) >= 20)
            assert set(server.given_back) < set(slow)

    asyncio.run(main())
