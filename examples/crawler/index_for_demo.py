"""An index of packages: each answer takes a while, some never come, some are errors."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

SECONDS = 0.05
HANGS = 31
FLAKY = 7
BROKEN = 23


class Server:
    """Answers for `package-0` to `package-N`, each of which needs up to three with higher numbers."""

    def __init__(self, packages: int) -> None:
        self._packages = packages
        self._requests: Counter[int] = Counter()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        try:
            request = (await reader.readuntil(b"\r\n\r\n")).decode()
            await asyncio.sleep(SECONDS)
            name = request.split()[1].removeprefix("/package-")
            if name.isdecimal() and int(name) % HANGS == HANGS - 1:
                await reader.read()  # until the other side gives up
                return
            status, document = self._document(name)
            writer.write(f"HTTP/1.0 {status.value} {status.phrase}\r\n\r\n{json.dumps(document)}".encode())
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # whoever asked has gone
        finally:
            writer.close()

    def _document(self, name: str) -> tuple[HTTPStatus, object]:
        if not name.isdecimal() or int(name) >= self._packages:
            return HTTPStatus.NOT_FOUND, None
        number = int(name)
        self._requests[number] += 1
        if number % BROKEN == BROKEN - 1:
            return HTTPStatus.INTERNAL_SERVER_ERROR, None
        if number % FLAKY == FLAKY - 1 and self._requests[number] == 1:
            return HTTPStatus.SERVICE_UNAVAILABLE, None
        needs = {2 * number + 1, 2 * number + 2, 3 * number + 1}
        return HTTPStatus.OK, {
            "name": f"package-{number}",
            "kilobytes": 10 + number * 37 % 1000,
            "needs": [f"package-{one}" for one in sorted(needs) if one < self._packages],
        }


@asynccontextmanager
async def serving(packages: int) -> AsyncIterator[tuple[str, int]]:
    """Serve in this event loop; yields host and port."""
    server = await asyncio.start_server(Server(packages).answer, "127.0.0.1", 0, backlog=1024)
    try:
        yield server.sockets[0].getsockname()[:2]
    finally:
        server.close()
