# ruff: noqa: ASYNC110, ASYNC222, ASYNC230, ASYNC240, ASYNC251 - what blocks here is what is to be tested
"""Code of coroutine functions that tests have lanes execute. Lanes import it: `tests` is on their path."""

import asyncio
import os
import pickle
import time
from pathlib import Path
from typing import Any

from support.task_codes import call

from taskyard_contract.execution import Invocation


class Coroutines:
    """Does what the arguments of a run say, among others in one loop; `host` is the lane's."""

    async def execute_async(self, invocation: Invocation, host: Any) -> bytes:
        name, args = pickle.loads(invocation.args)
        return pickle.dumps(await getattr(self, f"do_{name}")(invocation, host, *args))

    def execute(self, invocation: Invocation, host: Any) -> bytes:
        """Do so in a worker, alone."""
        host.expired, host.cancelled = "", False
        return asyncio.run(self.execute_async(invocation, host))

    async def do_pid(self, invocation: Invocation, host: Any, seconds: float = 0.0) -> int:
        await asyncio.sleep(seconds)
        return os.getpid()

    async def do_note(self, invocation: Invocation, host: Any, note: str, seconds: float) -> int:
        """Note the process, and be done when that has waited."""
        Path(note).write_text(str(os.getpid()))
        await asyncio.sleep(seconds)
        return os.getpid()

    async def do_append(self, invocation: Invocation, host: Any, note: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        with open(note, "a") as file:
            file.write(f"{os.getpid()}\n")

    async def do_loop(self, invocation: Invocation, host: Any) -> int:
        return id(asyncio.get_running_loop())

    async def do_meet(self, invocation: Invocation, host: Any, directory: str, count: int) -> int:
        """Be done when so many others have begun: none would be if they were executed in turn."""
        Path(directory, invocation.run_id.hex()).touch()
        while len(os.listdir(directory)) < count:
            await asyncio.sleep(0.01)
        return os.getpid()

    async def do_clean_up(self, invocation: Invocation, host: Any, note: str) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            Path(note).write_text(host.expired or "cancelled")

    async def do_swallow(self, invocation: Invocation, host: Any, note: str) -> None:
        Path(note).write_text(str(os.getpid()))
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                continue

    async def do_block(self, invocation: Invocation, host: Any, seconds: float, note: str = "") -> int:
        if note:
            Path(note).write_text(str(os.getpid()))
        time.sleep(seconds)
        return os.getpid()

    async def do_die(self, invocation: Invocation, host: Any, signum: int) -> None:
        await asyncio.sleep(0.05)
        os.kill(os.getpid(), signum)
        await asyncio.sleep(60)

    async def do_die_at_once(self, invocation: Invocation, host: Any, signum: int) -> None:
        os.kill(os.getpid(), signum)

    async def do_fork(self, invocation: Invocation, host: Any, note: str) -> int:
        """Go on in both, and await something there."""
        child = os.fork()
        if child:
            os.waitpid(child, 0)
        await asyncio.sleep(0)
        with open(note, "a") as file:
            file.write(f"{bool(child)}\n")
        return 1

    async def do_wait(self, invocation: Invocation, host: Any, note: str, blocking: bool) -> int:
        """Wait for a file as for another run: with the loop kept, or not."""
        with host.blocked() if blocking else host.awaiting():
            while not Path(note).exists():
                if blocking:
                    time.sleep(0.01)
                else:
                    await asyncio.sleep(0.01)
        return os.getpid()

    async def do_touch(self, invocation: Invocation, host: Any, note: str) -> int:
        Path(note).touch()
        return os.getpid()

    async def do_exits_beside(self, invocation: Invocation, host: Any) -> str:
        async def leaves() -> None:
            raise SystemExit(3)

        beside = asyncio.create_task(leaves())
        done, _ = await asyncio.wait([beside])
        return type(next(iter(done)).exception()).__name__


COROUTINES = pickle.dumps(Coroutines())
__all__ = ["COROUTINES", "Coroutines", "call"]
