"""The queue of one agent: spans that nobody executes yet. Pure."""

from collections import deque
from collections.abc import Iterator

from taskyard_agent.holding.chunks import Span
from taskyard_api.v1 import agent_service_pb2 as pb


class SpanQueue:
    """What other runs wait for, the latest first, then the rest in order.

    The latest first, because a run that waits keeps a process: depth first ends the youngest of them soonest.
    """

    def __init__(self) -> None:
        """Count from the start: `runs` is asked for with each dispatch."""
        self._nested: deque[Span] = deque()
        self._others: deque[Span] = deque()
        self.runs = 0

    def __iter__(self) -> Iterator[Span]:
        """Iterate over the spans in the order in which they would start."""
        yield from self._nested
        yield from self._others

    @property
    def nested(self) -> int:
        """How many runs are here that other runs wait for."""
        return sum(map(len, self._nested))

    def add(self, span: Span) -> None:
        """Put a span where its kind goes."""
        if span.chunk.nested:
            self.put_back([span])
        elif runs := len(span):
            self._others.append(span)
            self.runs += runs

    def put_back(self, spans: list[Span]) -> None:
        """Put spans that had left the queue back to its front, in their order."""
        for span in reversed(spans):
            if len(span):
                (self._nested if span.chunk.nested else self._others).appendleft(span)
                self.runs += len(span)

    def pop(self, limit: int, nested_only: bool = False, caller: bytes | None = None) -> Span | None:
        """Take a span of at most `limit` runs from the front.

        Args:
            limit: Most runs.
            nested_only: Whether to take only what other runs wait for.
            caller: Whether, of these, to take only what this run has submitted.
        """
        if caller is not None:
            self._bring_forward(caller)
        spans = self._nested if self._nested or nested_only else self._others
        if not spans or (caller is not None and not _submitted_by(spans[0], caller)):
            return None
        span = spans.popleft()
        runs = len(span)
        self.runs -= runs
        if runs > limit:
            self.put_back([span.part(span.start + limit, span.stop)])
            span = span.part(span.start, span.start + limit)
        return span

    def _bring_forward(self, caller: bytes) -> None:
        """Put to the front what a run has submitted, unless it is there."""
        for index, span in enumerate(self._nested):
            if _submitted_by(span, caller):
                if index:
                    del self._nested[index]
                    self._nested.appendleft(span)
                return

    def pop_last(self, count: int) -> list[Span]:
        """Take up to `count` of the runs that nobody here waits for, from the end."""
        taken: list[Span] = []
        while count > 0 and self._others:
            span = self._others.pop()
            self.runs -= len(span)
            if len(span) > count:
                self.add(span.part(span.start, span.stop - count))
                span = span.part(span.stop - count, span.stop)
            count -= len(span)
            taken.append(span)
        return taken

    def remove(self, key: pb.RunKey) -> Span | None:
        """Take one run out, wherever it is; None when it is not here."""
        for spans in (self._nested, self._others):
            for index, span in enumerate(spans):
                position = span.find(key)
                if position is not None:
                    del spans[index]
                    self.runs -= 1
                    for half in reversed(span.without(position)):
                        spans.insert(index, half)
                    return span.one(position)
        return None

    def clear(self) -> list[Span]:
        """Empty the queue; returns what was in it, in the order in which it would have started."""
        taken = list(self)
        self._nested.clear()
        self._others.clear()
        self.runs = 0
        return taken


def _submitted_by(span: Span, caller: bytes) -> bool:
    # An older server does not say by whom; then it may be this one.
    return span.chunk.nested and span.chunk.caller in (caller, b"")
