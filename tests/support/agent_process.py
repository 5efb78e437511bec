"""A real agent process beside a scripted control plane."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
from support.scripted_controlplane import ScriptedControlPlane, scripted
from support.task_codes import COMMANDS

TESTS = Path(__file__).parent.parent


class AgentProcess:
    """``python -m taskyard_agent``."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.pid = process.pid
        self.ready_line = ""

    @classmethod
    async def start(cls, address: str, home: Path, *options: str) -> "AgentProcess":
        environment = {**os.environ, "TASKYARD_HOME": str(home), "PYTHONPATH": str(TESTS)}
        command = ["-m", "taskyard_agent", "--server", address, "--name", "tester", *options]
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, env=environment, stdout=asyncio.subprocess.PIPE
        )
        return cls(process)

    async def ready(self) -> None:
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), 20)
        self.ready_line = line.decode().strip()

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.pid).children(recursive=True)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    async def exit_code(self, timeout: float = 45) -> int:
        return await asyncio.wait_for(self.process.wait(), timeout)

    async def end(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


@asynccontextmanager
async def agent_of(
    server: ScriptedControlPlane, home: Path, *options: str, slots: int = 2
) -> AsyncIterator[AgentProcess]:
    """A ready agent; its code 1 is `Commands`."""
    server.define(1, COMMANDS)
    agent = await AgentProcess.start(server.address, home, "--slots", str(slots), *options)
    try:
        await agent.ready()
        yield agent
    finally:
        await agent.end()


@asynccontextmanager
async def agent_and_server(
    home: Path,
    *options: str,
    slots: int = 2,
    prepare: Callable[[ScriptedControlPlane], None] = lambda server: None,
) -> AsyncIterator[tuple[AgentProcess, ScriptedControlPlane]]:
    """A scripted control plane and an agent of it."""
    async with scripted() as server:
        prepare(server)
        async with agent_of(server, home, *options, slots=slots) as agent:
            yield agent, server


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def eventually(condition: Callable[[], bool], timeout: float = 5.0) -> None:
    """Wait until something outside the test's own event loop is so."""
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110 - nothing tells when a process has ended
            await asyncio.sleep(0.01)


__all__ = ["AgentProcess", "agent_and_server", "agent_of", "alive", "eventually"]
