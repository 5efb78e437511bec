"""The far end of a stream: takes in what a program sends, and waits until that makes something true."""

import asyncio
from collections.abc import Callable
from typing import Any

from conformance.plane import PATIENCE, Call
from conformance.verdict import Broken, demand, fail


class FarEnd:
    """One stream of a program, read for as long as it lives. Whoever derives checks what it has to keep."""

    who = "the program"
    """For people."""

    def __init__(self, call: Call) -> None:
        self.ended = False
        self._call = call
        self._changed = asyncio.Event()
        self._broken: Broken | None = None
        self._reading = asyncio.create_task(self._read())

    async def send(self, frame: Any) -> None:
        """Send a frame."""
        await self._call.send(frame)

    async def hang_up(self) -> None:
        """Lose the stream."""
        await self._call.hang_up()
        self._reading.cancel()

    async def end(self) -> None:
        """End the stream well, as an answer to its end."""
        await self._call.end()

    async def until(self, holds: Callable[[], object], what: str, within: float = PATIENCE) -> None:
        """Wait until what was told makes something true.

        Raises:
            Broken: It did not come true in time, or a frame was wrong.
        """
        try:
            async with asyncio.timeout(within):
                while not holds():
                    if self._broken is not None:
                        raise self._broken
                    demand(not self.ended, f"{self.who} ended its stream before there was {what}")
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            fail(f"there was no {what} within {within:g} s")
        if self._broken is not None:
            raise self._broken

    def take(self, frame: Any) -> None:
        """Take in a frame.

        Raises:
            Broken: It breaks a rule.
        """
        raise NotImplementedError

    async def answer(self, frame: Any) -> None:
        """Say at once what there is to say to a frame; nothing."""

    async def _read(self) -> None:
        try:
            while (frame := await self._call.receive()) is not None:
                self.take(frame)
                await self.answer(frame)
                self._changed.set()
        except Broken as error:
            self._broken = error
        self.ended = True
        self._changed.set()
