"""WatchRuns: the runs that fit as they are, then those that change.

The owner says which runs changed; what is told of them is read from the database, completed by the owner, as
for a listing, a message at a time and in the threads of readers. So a watch costs the owner's loop little
but an id for each change; its process it costs what reading takes. A watcher that is told of everything as
it happens would have it read each run several times; so once it is told of all there was, changes are let
gather for a moment. Those that are behind take turns, with rests in between that are the longer the busier
the owner is; changes gather meanwhile, so that they hear of each run less often. Whoever cannot keep up in
that way is lost in the end: runs go first.

Tokens follow closely. What a watcher was told of last says where it would go on; and when it is told of
nothing while much happens, it is given a new one before that of before is too old.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import Final

from taskyard_api.v1 import run_service_pb2 as pb
from taskyard_contract.errors import WatchExpired
from taskyard_controlplane.owner.journal.changes import Changes, Interest, Watch
from taskyard_controlplane.reading import watched
from taskyard_controlplane.reading.filters import Pick, check_filter
from taskyard_controlplane.reading.pages import Room
from taskyard_controlplane.reading.runs import MOST_AT_ONCE, WHOLE_AT_ONCE, RunReader
from taskyard_controlplane.reading.tokens import scope_of
from taskyard_controlplane.reading.watched import ResumePoint, Told
from taskyard_controlplane.rpc.directory import Directory
from taskyard_controlplane.rpc.following import QUIET_SECONDS, Allowance, Attention, Followers
from taskyard_controlplane.storage.interface import RunFilter

GATHER_SECONDS: Final = 0.05
"""How long changes gather after those of before were told: less than people notice."""
CHANGES_AT_ONCE: Final = 500
"""Read in one go, without results: most runs are small, and each read has a price of its own."""
FEW_CHANGES: Final = 50
"""So few are read without waiting for a turn: who watches some runs does not wait for those who watch all."""
BOOKMARK_SECONDS: Final = 1.0
"""How long a watcher keeps a token that will soon be too old."""


class RunWatching:
    """Serves watches."""

    def __init__(self, directory: Directory, reading: RunReader, followers: Followers) -> None:
        """Watch what the owners of `directory` do, told as `reading` does."""
        self._directory = directory
        self._reading = reading
        self._followers = followers
        self._allowance = Allowance()

    async def messages(
        self, request: pb.WatchRunsRequest, peer: str
    ) -> AsyncGenerator[pb.WatchRunsResponse, None]:
        """Iterate over what a watcher is told, until it leaves.

        Raises:
            InvalidRequest: The filter is malformed, or the token not one of it.
            WatchExpired: What came after the token is not known any more, or the watcher is too slow.
            Overloaded: There are too many watchers.
            ServerStopping: The server stops.
        """
        wanted = check_filter(request.filter)
        point = watched.decode(request.resume_token, scope_of(wanted))
        owner = self._directory.owner()
        if point is not None and point.generation != owner.generation:
            raise WatchExpired("the server was restarted since; watch again without a resume token")
        with self._followers.join(peer) as attention:
            watch = _begin(owner.changes, wanted, point, attention)
            try:
                turn = partial(self._allowance.turn, lambda: owner.changes.noted)
                stream = _Stream(self._reading, watch, attention, turn, owner.generation, request)
                async for message in stream.messages(point):
                    yield message
            finally:
                owner.changes.leave(watch)


def _begin(changes: Changes, wanted: pb.RunFilter, point: ResumePoint | None, attention: Attention) -> Watch:
    ends = Pick.of(wanted).ends
    interest = Interest(run_ids=frozenset(wanted.run_ids) or None, ends=ends)
    return changes.watch(interest, None if point is None else point.position, attention.wake)


class _Stream:
    """One watch."""

    def __init__(
        self,
        reading: RunReader,
        watch: Watch,
        attention: Attention,
        turn: Callable[[], AbstractAsyncContextManager[None]],
        generation: int,
        request: pb.WatchRunsRequest,
    ) -> None:
        self._reading = reading
        self._watch = watch
        self._attention = attention
        self._turn = turn
        self._generation = generation
        self._wanted = request.filter
        self._scope = scope_of(request.filter)
        self._include_result = request.include_result
        self._told = Told(Pick.of(request.filter), resumed=bool(request.resume_token))
        self._recorded: RunFilter | None = None
        self._quiet_since = 0.0

    async def messages(self, point: ResumePoint | None) -> AsyncGenerator[pb.WatchRunsResponse, None]:
        await self._known_flow()
        beyond = None if point is None else point.beyond or None
        if point is None or beyond is not None:
            async for message in self._as_they_are(beyond):
                yield message
        else:
            yield self._message([], caught_up=True)
        while True:
            await self._attention.wait(self._seconds_left())
            self._attention.begin()
            async with self._turn() if len(self._watch.pending) > FEW_CHANGES else nullcontext():
                messages = await self._changed()
            for message in messages:
                yield message
            if self._seconds_left() <= 0:
                yield self._message([])
            if not self._watch.pending:
                await asyncio.sleep(GATHER_SECONDS)

    async def _as_they_are(self, beyond: int | None) -> AsyncGenerator[pb.WatchRunsResponse, None]:
        """Tell of the runs that fit now; what changes meanwhile is told afterwards."""
        while True:
            self._attention.check()
            self._check()
            async with self._turn() if beyond is not None else nullcontext():
                page = await self._reading.page(
                    self._wanted, beyond, MOST_AT_ONCE, include_result=self._include_result
                )
            beyond = page.next_position
            runs = [run for run in page.runs if self._told.wants(run)]
            yield self._message(runs, beyond=beyond or 0, caught_up=beyond is None)
            if beyond is None:
                return

    async def _changed(self) -> list[pb.WatchRunsResponse]:
        """Return what there is to tell of the next runs that changed, as many as a few messages hold."""
        self._check()
        before = self._watch.position
        run_ids = self._watch.take(WHOLE_AT_ONCE if self._include_result else CHANGES_AT_ONCE)
        if self._watch.pending:
            self._attention.wake()
        position = self._watch.position
        if not run_ids or not await self._known_flow():
            return []
        assert self._recorded is not None
        changed = await self._reading.changed(self._recorded, run_ids, include_result=self._include_result)
        parts = _messages_of([run for run in changed if self._told.wants(run)])
        # Whoever comes back after a part has not been told of the rest.
        messages = [self._message(part, position=before) for part in parts[:-1]]
        return [*messages, *(self._message(part, position=position) for part in parts[-1:])]

    async def _known_flow(self) -> bool:
        """Find out once what of the filter is recorded; False when its flow run was not submitted yet."""
        if self._recorded is None:
            self._recorded = await self._reading.recorded(self._wanted)
            if self._recorded is not None:
                self._watch.interest = self._watch.interest._replace(flow_seq=self._recorded.flow_seq)
        return self._recorded is not None

    def _check(self) -> None:
        if self._watch.lost:
            raise WatchExpired(self._watch.lost)

    def _message(
        self,
        runs: Sequence[pb.Run],
        *,
        position: int | None = None,
        beyond: int = 0,
        caught_up: bool = False,
    ) -> pb.WatchRunsResponse:
        self._quiet_since = asyncio.get_running_loop().time()
        at = self._watch.position if position is None else position
        self._watch.marked(at)
        token = watched.encode(ResumePoint(self._generation, at, beyond), self._scope)
        return pb.WatchRunsResponse(runs=runs, resume_token=token, caught_up=caught_up)

    def _seconds_left(self) -> float:
        """Return how long the watcher may still hear nothing."""
        most = BOOKMARK_SECONDS if self._watch.is_due else QUIET_SECONDS
        return self._quiet_since + most - asyncio.get_running_loop().time()


def _messages_of(runs: Sequence[pb.Run]) -> list[list[pb.Run]]:
    """Share runs out to messages of about 1 MiB."""
    parts: list[list[pb.Run]] = []
    has_room = False
    for run in runs:
        if not has_room:
            parts.append([])
            room = Room()
        parts[-1].append(run)
        has_room = room.take(run.ByteSize())
    return parts
