"""The client of an index: a request is a connection."""

import asyncio
import json
from typing import Any, NamedTuple


class IndexFailed(Exception):
    """The index answered, and not with what was asked for."""


class Package(NamedTuple):
    """What an index says of a package."""

    name: str
    kilobytes: int
    needs: list[str]


class Index(NamedTuple):
    """Where an index is."""

    host: str
    port: int

    async def package(self, name: str) -> Package:
        """Ask for a package.

        Raises:
            IndexFailed: There is none, or the index is not well.
            OSError: There was no answer.
        """
        return Package(**await self._get(f"/{name}"))

    async def _get(self, path: str) -> Any:
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            writer.write(f"GET {path} HTTP/1.0\r\nHost: {self.host}\r\n\r\n".encode())
            await writer.drain()
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        finally:
            writer.close()
        status = head.decode().partition("\r\n")[0].partition(" ")[2]
        if not status.startswith("200"):
            raise IndexFailed(status or "no answer")
        return json.loads(body)
