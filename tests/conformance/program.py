"""The program before the kit: started, listened to, ended."""

import asyncio
import os
import signal
import sys
from contextlib import suppress


class Program:
    """A child process in a group of its own, because commands like ``go run`` start others."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.output = ""
        self.errors = ""
        self._process = process
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, command: list[str], address: str) -> "Program":
        """Start a command, with ``{address}`` replaced."""
        words = [word.replace("{address}", address) for word in command]
        pipe = asyncio.subprocess.PIPE
        return cls(
            await asyncio.create_subprocess_exec(*words, stdout=pipe, stderr=pipe, start_new_session=True)
        )

    async def ended(self, within: float) -> int | None:
        """Return with which code it ended, None when it did not in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await asyncio.shield(self._reading)
                return await self._process.wait()
        return None

    async def end(self) -> None:
        """End it, if it has not; shows what it wrote to standard error."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            if await self.ended(3.0) is not None:
                break
        sys.stderr.write(self.errors)

    async def _read(self) -> None:
        async def lines(stream: asyncio.StreamReader | None, keep: str) -> None:
            while stream is not None and (line := await stream.readline()):
                setattr(self, keep, getattr(self, keep) + line.decode(errors="replace"))

        await asyncio.gather(lines(self._process.stdout, "output"), lines(self._process.stderr, "errors"))
