"""The queue of one agent: spans that nobody executes yet. Pure.

Sessions take turns here as they do at the server (deficit round robin, by measured time), or a window full of
one session's runs would undo that: whose turn it is gives out spans until `TURN_SECONDS` are over. Inside a
session comes what other runs wait for, the latest first, then the rest in order. The latest first, because a
run that waits keeps a process: depth first ends the youngest of them soonest.

Coroutines that share a process wait beside each other. In a queue of such runs only their number counts, and
nothing limits how many go out together but who takes them.
"""

from collections import deque
from collections.abc import Container, Iterator
from typing import Final

from taskyard_agent.holding.chunks import Span
from taskyard_api.v1 import agent_service_pb2 as pb

TURN_SECONDS: Final = 0.02
"""As much as a turn at the server."""
LEAST_SECONDS: Final = 1e-4
"""What the quickest run counts, as at the server: to bring it to a worker and back takes longer."""


class Everybody:
    """All sessions."""

    def __contains__(self, share: object) -> bool:
        """Say yes."""
        return True


EVERYBODY: Final = Everybody()


class Share:
    """What one session has here, and how much of its turn is left."""

    __slots__ = ("credit", "nested", "others")

    def __init__(self) -> None:
        """Have a turn to come."""
        self.credit = TURN_SECONDS
        self.nested: deque[Span] = deque()
        self.others: deque[Span] = deque()

    def spans(self, nested: bool) -> deque[Span]:
        """Return the spans of a kind."""
        return self.nested if nested else self.others

    @property
    def empty(self) -> bool:
        """Whether nothing is left."""
        return not (self.nested or self.others)

    def first(self, nested_only: bool, caller: bytes | None) -> deque[Span] | None:
        """Return where the next span is taken from; None when there is nothing.

        `nested_only` and what is more only what `caller` has submitted, if that is said.
        """
        if not nested_only:
            return self.nested or self.others or None
        return (self.nested if caller is None else self._submitted_by(caller)) or None

    def _submitted_by(self, caller: bytes) -> deque[Span] | None:
        """Return the nested spans with one in front that a run has submitted; None when there is none."""
        for index, span in enumerate(self.nested):
            # An older server does not say by whom; then it may be this one.
            if span.chunk.caller in (caller, b""):
                if index:
                    del self.nested[index]
                    self.nested.appendleft(span)
                return self.nested
        return None


class SpanQueue:
    """The spans of each session, and the order in which sessions take turns."""

    def __init__(self, apart: bool = False) -> None:
        """Count from the start: `runs` is asked for with each dispatch; `apart`: they share a process."""
        self._apart = apart
        self._shares: dict[int, Share] = {}
        """By number of the session; the first one is next. An empty one goes when that is come upon: what was
        taken and could not be given out has its place when it comes back."""
        self.runs = 0

    def __iter__(self) -> Iterator[Span]:
        """Iterate over the spans in the order in which they would start if turns were long enough."""
        for share in self._shares.values():
            yield from share.nested
            yield from share.others

    @property
    def nested(self) -> int:
        """How many runs are here that other runs wait for."""
        return sum(len(span) for share in self._shares.values() for span in share.nested)

    def has_others(self, share: int) -> bool:
        """Whether runs of another session than this one wait here."""
        return any(number != share and not one.empty for number, one in self._shares.items())

    def add(self, span: Span) -> None:
        """Put a span where its kind goes."""
        if span.chunk.nested:
            self.put_back([span])
        elif runs := len(span):
            self._share(span).others.append(span)
            self.runs += runs

    def put_back(self, spans: list[Span]) -> None:
        """Put spans that had left the queue back to the front of what their session has, in their order."""
        for span in reversed(spans):
            if len(span):
                self._share(span).spans(span.chunk.nested).appendleft(span)
                self.runs += len(span)

    def _share(self, span: Span) -> Share:
        share = self._shares.get(span.chunk.share)
        if share is None:
            share = self._shares[span.chunk.share] = Share()
        return share

    def pop(self, limit: int, nested_only: Container[int] = (), caller: bytes | None = None) -> Span | None:
        """Take a span of at most `limit` runs from whose turn it is, which goes on until it is `spent`.

        Args:
            limit: Most runs.
            nested_only: The sessions of which to take only what other runs wait for.
            caller: The run of which, among these, to take only what it has submitted; None for any.
        """
        spans = self._next(nested_only, caller)
        if spans is None:
            return None
        span = spans.popleft()
        self.runs -= len(span)
        if not self._apart:
            limit = min(limit, span.chunk.template.most_at_once)
        if len(span) > limit:
            self.put_back([span.part(span.start + limit, span.stop)])
            span = span.part(span.start, span.start + limit)
        return span

    def _next(self, nested_only: Container[int], caller: bytes | None) -> deque[Span] | None:
        """Return the spans of whose turn it is; who has nothing to take keeps its place."""
        found: deque[Span] | None = None
        indebted: list[tuple[int, Share, deque[Span]]] = []
        gone: list[int] = []
        for number, share in self._shares.items():
            spans = share.first(number in nested_only, caller)
            if spans is None:
                if share.empty:
                    gone.append(number)
            elif share.credit > 0.0:
                found = spans
                break
            else:
                indebted.append((number, share, spans))
        for number in gone:
            del self._shares[number]
        if found is not None:
            for number, _, _ in indebted:
                self._pass(number)
        elif indebted:
            # Nobody has anything left: so many rounds are over at once as the first one needs.
            rounds = min(1 + int(-share.credit // TURN_SECONDS) for _, share, _ in indebted)
            for _, share, _ in indebted:
                share.credit += rounds * TURN_SECONDS
            for number, share, spans in indebted:
                if share.credit > 0.0:
                    found = spans
                    break
                self._pass(number)  # passed over once more: whose turn it is now gets one more as well
        return found

    def spent(self, span: Span) -> None:
        """Charge a session for a span that was given out."""
        number = span.chunk.share
        share = self._shares.get(number)
        if share is None:
            return
        if share.empty:
            del self._shares[number]
        elif len(self._shares) == 1:
            share.credit = 0.0  # alone: this turn is over when somebody comes
        else:
            each = 0.0 if self._apart else span.chunk.template.seconds
            share.credit -= len(span) * max(each, LEAST_SECONDS)
            if share.credit <= 0.0:
                self._pass(number)

    def _pass(self, number: int) -> None:
        share = self._shares.pop(number)
        share.credit += TURN_SECONDS
        self._shares[number] = share

    def pop_last(self, count: int, whose: Container[int] = EVERYBODY) -> list[Span]:
        """Take up to `count` of the runs of some sessions that nobody here waits for, from the end of who has
        most.
        """
        taken: list[Span] = []
        while count > 0:
            shares = [share for number, share in self._shares.items() if share.others and number in whose]
            if not shares:
                break
            share = max(shares, key=lambda share: sum(map(len, share.others)))
            span = share.others.pop()
            self.runs -= len(span)
            if len(span) > count:
                self.add(span.part(span.start, span.stop - count))
                span = span.part(span.stop - count, span.stop)
            count -= len(span)
            taken.append(span)
        return taken

    def remove(self, key: pb.RunKey) -> Span | None:
        """Take one run out, wherever it is; None when it is not here."""
        for share in self._shares.values():
            for spans in (share.nested, share.others):
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
        self._shares.clear()
        self.runs = 0
        return taken
