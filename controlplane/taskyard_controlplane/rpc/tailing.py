"""TailRunLogs: the log of a run, then what is added, until it is complete.

The owner wakes who follows a log when records of it are stored, or a run whose records it has ended. What
there is then is read; nothing is read while nothing happens. It is read up to where nothing with a lower
number can still come (`Owner.logs_up_to`), so that going on behind the last record passes nothing over.

When it is complete: records of a run are accepted until its end is durable. So once the database says that
it has ended, and of a flow run that nothing inside it is open, all records that will ever come have been
accepted, and are durable with what is in the owner's hands then. After that they are read a last time.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

from taskyard_api.v1 import run_service_pb2 as pb
from taskyard_controlplane.reading import page_tokens
from taskyard_controlplane.reading.messages import log_batch
from taskyard_controlplane.reading.page_tokens import Listing
from taskyard_controlplane.reading.runs import RunReader
from taskyard_controlplane.reading.tokens import scope_of
from taskyard_controlplane.rpc.directory import Directory
from taskyard_controlplane.rpc.following import QUIET_SECONDS, Followers

GATHER_SECONDS: Final = 0.1
"""How long records gather after those of before were told: a run may log a thousand times a second."""
RECORDS_AT_ONCE: Final = 1_000


class LogTailing:
    """Serves those who follow logs."""

    def __init__(self, directory: Directory, reading: RunReader, followers: Followers) -> None:
        """Follow what the owners of `directory` record, as `reading` reads it."""
        self._directory = directory
        self._reading = reading
        self._followers = followers

    async def messages(
        self, request: pb.TailRunLogsRequest, peer: str
    ) -> AsyncGenerator[pb.TailRunLogsResponse, None]:
        """Iterate over what there is of a log, and what comes; the last message says that it is complete.

        Raises:
            RunNotFound: There is no such run.
            InvalidRequest: The token is not one of this log.
            Overloaded: There are too many who follow.
            ServerStopping: The server stops.
        """
        scope = scope_of(request.run_id)
        after = page_tokens.decode(Listing.LOGS, request.page_token, scope) or 0
        owner = self._directory.owner()
        with self._followers.join(peer) as attention:
            run_seq, removed_us = await self._reading.log_of(request.run_id)
            if removed_us and not after:
                yield pb.TailRunLogsResponse(removed_before_us=removed_us)
            with owner.tails.follow(run_seq, attention.wake):
                while True:
                    attention.begin()
                    over = await self._reading.is_over(request.run_id)
                    if over:
                        await owner.durable()
                    up_to = await owner.logs_up_to(run_seq)
                    while records := await self._reading.logs(run_seq, after, RECORDS_AT_ONCE, up_to):
                        after = records[-1].log_id
                        yield pb.TailRunLogsResponse(
                            logs=log_batch(records), next_page_token=_token(after, scope)
                        )
                        attention.check()
                    if over:
                        yield pb.TailRunLogsResponse(next_page_token=_token(after, scope), complete=True)
                        return
                    await asyncio.sleep(GATHER_SECONDS)
                    while not await attention.wait(QUIET_SECONDS):
                        yield pb.TailRunLogsResponse(next_page_token=_token(after, scope))


def _token(after: int, scope: bytes) -> str:
    """Return the token to go on with; empty while there is no record."""
    return page_tokens.encode(Listing.LOGS, after, scope) if after else ""
