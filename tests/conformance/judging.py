"""Plays scripts to programs that are a function in the same process, to see what the kit says of them."""

import asyncio
from collections.abc import Awaitable, Callable

from conformance.plane import Plane
from conformance.verdict import Broken
from grpc import aio

Program = Callable[[aio.Channel], Awaitable[None]]


async def verdict(script: Callable[[Plane], Awaitable[None]], program: Program) -> str:
    """Play a script to a program; returns what was wrong with it."""
    plane = Plane()
    await plane.start()
    async with aio.insecure_channel(plane.address) as channel:
        playing = asyncio.ensure_future(script(plane))
        acting = asyncio.ensure_future(program(channel))
        try:
            await playing
            return plane.unanswered()
        except Broken as broken:
            return str(broken)
        finally:
            acting.cancel()
            await asyncio.wait([acting])
            await plane.stop()
