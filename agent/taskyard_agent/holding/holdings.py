"""The runs an agent has in hand, and the five ways in which they leave it.

Every run that was assigned ends here in exactly one of five ways: it is *reported* (it was executed), *lost*
(its process or its code was), *cancelled* (asked for and confirmed), *given back* (it has not started and
others may have it) or *dropped* (somebody else's by now; the server wants to hear nothing). Which spans are
where is the business of queue, transfers and workers, and they are many; so the account is kept here, apart
from all of them, as one bit for each run of an open chunk. Taking a run out of it and telling the session are
one call, so that neither can be forgotten.

What follows from it: the count that credit is computed from cannot drift, a second end of one run is told to
nobody, what a hello names as held is what has not ended, and blobs are kept for exactly as long as a run may
need them. One big integer for each chunk costs less than a microsecond a report, however many runs it has.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator

from taskyard_agent.holding.chunks import Chunk, Span
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract.agent_link import LinkSession
from taskyard_contract.blobs.names import name_of, sha256_name
from taskyard_contract.states import StateReason

logger = logging.getLogger(__name__)


class Holdings:
    """The account of the runs in hand."""

    def __init__(self) -> None:
        """Hold nothing; `session` has to be set before anything ends."""
        self.session: LinkSession
        self.runs = 0
        """How many runs are in hand."""
        self.in_lanes = 0
        """How many of these share processes."""
        self.coroutines = 0
        """How many are of coroutine functions, wherever they are executed."""
        self.alone: dict[int, int] = {}
        """How many of these share no process, by number of their session; nobody who has none."""
        self._open: dict[Chunk, int] = {}
        self._empty = asyncio.Event()
        self._empty.set()

    def accept(self, chunk: Chunk) -> Span:
        """Take a chunk in hand; returns its runs."""
        if not self.runs:
            self._empty.clear()
        span = chunk.whole()
        self._open[chunk] = (1 << span.stop) - 1
        self.runs += span.stop
        if chunk.template.coroutine:
            self._count_coroutines(chunk, span.stop)
        return span

    def _count_coroutines(self, chunk: Chunk, runs: int) -> None:
        self.coroutines += runs
        if chunk.in_lane:
            self.in_lanes += runs
        else:
            alone = self.alone[chunk.share] = self.alone.get(chunk.share, 0) + runs
            if not alone:
                del self.alone[chunk.share]

    def run_keys(self) -> Iterator[pb.RunKey]:
        """Name every run in hand."""
        for chunk, remaining in self._open.items():
            while remaining:
                lowest = remaining & -remaining
                yield chunk.key(lowest.bit_length() - 1)
                remaining ^= lowest

    def blobs(self) -> Iterator[str]:
        """Name the blobs that runs in hand may need."""
        for chunk in self._open:
            yield from map(name_of, chunk.blobs)
            if chunk.template.bundle:
                yield sha256_name(chunk.template.bundle)

    def bundles(self) -> Iterator[bytes]:
        """Name the bundles that runs in hand need."""
        for chunk in self._open:
            if chunk.template.bundle:
                yield chunk.template.bundle

    async def emptied(self) -> None:
        """Wait until no run is in hand."""
        await self._empty.wait()

    def slim(self, span: Span) -> Span:
        """Return the same runs, in a chunk of their own when their body is mostly that of others."""
        slim = span.slimmed()
        if slim is not span:
            runs = self._remove(span)
            self._open[slim.chunk] = (1 << len(slim)) - 1
            self.runs += runs
            if slim.chunk.template.coroutine:
                self._count_coroutines(slim.chunk, runs)
        return slim

    def report(self, span: Span, columns: bytes) -> None:
        """End runs by what came of them; `columns` is a serialised ReportColumns."""
        if self._ends(span):
            chunk, start = span.chunk, span.start
            self.session.report(chunk.first_epoch + start, chunk.ids_of(start, span.stop - start), columns)

    def lose(self, span: Span, reason: StateReason, message: str) -> None:
        """End runs that will have no outcome."""
        if self._ends(span):
            for key in span.run_keys():
                self.session.lost(key, reason, message)

    def cancel(self, span: Span) -> None:
        """End runs that were to be cancelled, now that nothing executes them."""
        if self._ends(span):
            for key in span.run_keys():
                self.session.cancelled(key)

    def give_back(self, spans: Iterable[Span]) -> None:
        """End runs that have not started here and may start elsewhere."""
        for span in spans:
            if self._ends(span):
                self.session.give_back(span.run_keys())

    def drop(self, spans: Iterable[Span]) -> None:
        """End runs of which the server wants to hear nothing."""
        for span in spans:
            if self._ends(span):
                self.session.wake()  # nothing is told, but there is room again

    def sift(self, span: Span) -> list[Span]:
        """End the unwanted runs of a span that nobody executes any more; returns what is left of it."""
        if not span.unwanted:
            return [span] if len(span) else []
        for position, confirm in span.unwanted.items():
            if span.start <= position < span.stop:
                if confirm:
                    self.cancel(span.one(position))
                else:
                    self.drop([span.one(position)])
        return span.wanted()

    def _ends(self, span: Span) -> bool:
        """Take runs out of the account; whether there is anything to tell."""
        runs = self._remove(span)
        if runs != span.stop - span.start:
            # A defect of the agent. The server ignores a second end, but a count that drifts would starve us.
            logger.error(
                "%d of %d runs ended twice in template %d",
                len(span) - runs,
                len(span),
                span.chunk.template.index,
            )
        if self.runs == 0:
            self._empty.set()
        return runs > 0

    def _remove(self, span: Span) -> int:
        chunk = span.chunk
        before = self._open.get(chunk, 0)
        leaving = before & ((1 << span.stop) - (1 << span.start))
        if leaving == before:
            self._open.pop(chunk, None)
        else:
            self._open[chunk] = before ^ leaving
        runs = leaving.bit_count()
        self.runs -= runs
        if chunk.template.coroutine:
            self._count_coroutines(chunk, -runs)
        return runs
