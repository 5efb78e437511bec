"""Sessions take turns: deficit round robin over what each of them has ready at one priority. Pure.

The sessions that have runs here stand in a ring. Who is first may take runs for `QUANTUM_MS` of time as it
was measured, one run at least; then it goes to the end of the ring, with the next quantum. A run that takes
longer than what is left of a turn puts its session into debt, and who is in debt is passed over, a quantum
each time, until that is paid. So sessions get equal shares of *time*, however long their runs are and however
many they have. Who has nothing left leaves the ring, and its debt is forgotten: what counts is who has work
now.

An agent may be unable to execute what a session has. Then that session keeps its place and loses nothing, and
among the others turns go on as if it were not there. A session that is alone is limited by no turn; what it
takes then is over as soon as another one comes.

Slots, and the room that agents have for coroutines beside them, are two things, and nobody pays for one with
the other: there is a ring for each. A session whose run takes a slot for minutes would else be passed over,
with its coroutines, for as long as all others together have any.
"""

from collections import deque
from collections.abc import Container, Iterator
from heapq import heapify, heappop
from itertools import count
from typing import Final

from taskyard_controlplane.domain.model import Run, Template
from taskyard_controlplane.owner.queueing.lanes import Lane, OneNeed, Served, take_alike

QUANTUM_MS: Final = 20.0
"""A turn: some chunks, so that frames stay full while sessions take turns, and less than people notice."""
UNMEASURED_MS: Final = 1.0
"""What a run counts as long as none of its kind has ended: few go out in a turn, and those are measured."""
LEAST_MS: Final = 0.1
"""What the quickest run counts: to bring it there and back takes longer than it does itself."""
MOST_MS: Final = 10_000.0
"""What the longest run counts: many a long run only waits for others, and its slot does not."""
MANY_PASSED: Final = 64
"""So many sessions with nothing for an agent are passed over one by one; beyond, those that have some are
looked up: there may be thousands of the others, and they keep their places in front."""


class Everybody:
    """All sessions."""

    def __contains__(self, share: object) -> bool:
        """Say yes."""
        return True


EVERYBODY: Final = Everybody()


def cost_of(template: Template) -> float:
    """Return how many milliseconds a run of a template counts."""
    mean = template.mean_ms
    return min(max(mean, LEAST_MS), MOST_MS) if mean else UNMEASURED_MS


_ages = count(1)
"""One count for all, so that the ages of families with different needs can be compared."""


class Family(Lane):
    """What one run waits for, of one need."""

    __slots__ = ("age",)

    def __init__(self) -> None:
        """Be the latest family."""
        super().__init__()
        self.age = next(_ages)


class Share:
    """What one session has ready at one priority: what its runs wait for, the latest first, then new work."""

    __slots__ = ("families", "key", "needs", "new")

    def __init__(self, key: int) -> None:
        """Have nothing to do yet; `key` is the number of the session."""
        self.key = key
        self.needs: set[OneNeed] = set()
        """Of what it may have; one of which nothing is left goes when that is come upon. Kept by `Turns`."""
        self.new = Lane()
        self.families: dict[OneNeed, dict[bytes, Family]] = {}
        """By need, and by the run that waits for what is in there; the latest family is the last. There may
        be many of a need, so an agent never looks at those of needs that it does not meet."""

    def place_of(self, run: Run, need: OneNeed, caller_id: bytes) -> deque[Run]:
        """Return the runs behind which a run has to wait; `caller_id` is the one that waits for it."""
        lane: Lane = self.new
        if caller_id:
            families = self.families.setdefault(need, {})
            lane = families.get(caller_id) or families.setdefault(caller_id, Family())
        return lane.runs(run.template.priority, need)

    def first(self, served: Served, nested_only: bool) -> deque[Run] | None:
        """Return the runs of which an agent gets the first one; None when there is nothing for it."""
        runs = self._first_nested(served) if self.families else None
        return runs if runs is not None or nested_only else self.new.first(served)

    def _first_nested(self, served: Served) -> deque[Run] | None:
        latest: Family | None = None
        for need, families in self.families.items():
            if need in served:
                family = _latest(families)
                if family is not None and (latest is None or family.age > latest.age):
                    latest = family
        return latest.first(served) if latest is not None else None

    def lanes(self) -> list[Lane]:
        """Return its lanes in the order in which they are emptied."""
        families = [family for families in self.families.values() for family in families.values()]
        return [*sorted(families, key=lambda family: -family.age), self.new]

    def tidy(self) -> bool:
        """Drop what has ended while it waited; returns whether anything is left."""
        for lane in self.lanes():
            lane.tidy()
        for need, families in list(self.families.items()):
            self.families[need] = {key: family for key, family in families.items() if not family.empty}
            if not self.families[need]:
                del self.families[need]
        return not self.empty

    @property
    def empty(self) -> bool:
        """Whether it has nothing that could start."""
        return self.new.empty and not any(map(_latest, self.families.values()))


def _latest(families: dict[bytes, Family]) -> Family | None:
    """Return the latest family that has something; later ones that have not are dropped."""
    while families:
        caller_id, family = next(reversed(families.items()))
        if not family.empty:
            return family
        del families[caller_id]
    return None


class Ring:
    """Sessions in the order of their turns at one kind of room, and what each has left of its turn."""

    __slots__ = ("_last", "left_ms", "places")

    def __init__(self) -> None:
        """Begin with nobody."""
        self.left_ms: dict[int, float] = {}
        """By number of the session, who is next first; less than nothing is a debt."""
        self.places: dict[int, int] = {}
        """Who has the lower number here is before the other one."""
        self._last = 0

    def join(self, key: int) -> None:
        """Let a session come last, with a turn to come, unless it has its place."""
        if key not in self.left_ms:
            self.left_ms[key] = QUANTUM_MS
            self._come_last(key)

    def _come_last(self, key: int) -> None:
        self._last += 1
        self.places[key] = self._last

    def leave(self, key: int) -> None:
        """Forget a session, and what it owes."""
        self.left_ms.pop(key, None)
        self.places.pop(key, None)

    def end_turn(self, key: int) -> None:
        """Let a session come last: its next turn comes when all others have had theirs."""
        self.left_ms[key] = self.left_ms.pop(key) + QUANTUM_MS
        self._come_last(key)

    def pay(self, keys: list[int]) -> None:
        """Let pass as many rounds as the first one of some sessions needs that are all in debt."""
        rounds = min(1 + int(-self.left_ms[key] // QUANTUM_MS) for key in keys)
        for key in keys:
            self.left_ms[key] += rounds * QUANTUM_MS


class Turns:
    """The sessions that have runs at one priority, in the order of their turns."""

    __slots__ = ("_apart", "_by_need", "_left", "_slots", "shares")

    def __init__(self) -> None:
        """Begin with nobody."""
        self.shares: dict[int, Share] = {}
        self._left: Share | None = None
        """Of who left: who makes one call after the other leaves, and comes again, with each of them."""
        self._by_need: dict[OneNeed, set[int]] = {}
        """Who may have something of a need."""
        self._slots = Ring()
        self._apart = Ring()
        """Of sessions that have had coroutines since they came, for the room that is only for these."""

    def share(self, key: int, need: OneNeed, coroutines: bool = False) -> Share:
        """Return the share of a session, which comes last if it was not among them.

        Args:
            key: Its number.
            need: Of what it is about to have something.
            coroutines: Whether these are coroutines.
        """
        share = self.shares.get(key)
        if share is None:
            left, self._left = self._left, None
            share = self.shares[key] = left if left is not None and left.key == key else Share(key)
            self._slots.join(key)
        if need not in share.needs:
            share.needs.add(need)
            self._by_need.setdefault(need, set()).add(key)
            if coroutines:
                self._apart.join(key)
        return share

    def tidy(self) -> None:
        """Drop what ended while it waited, and who has nothing left."""
        for share in list(self.shares.values()):
            if not share.tidy():
                self._remove(share)
        self._left = None

    def _remove(self, share: Share) -> None:
        del self.shares[share.key]
        self._slots.leave(share.key)
        if self._apart.left_ms:
            self._apart.leave(share.key)
        self._forget(share, share.needs)
        if share.new.uniform and not share.families:  # else there would be ever more to look through
            self._left = share

    def _forget(self, share: Share, needs: Served) -> None:
        """Note that a session has nothing of some needs any more."""
        for need in needs:
            keys = self._by_need[need]
            keys.discard(share.key)
            if not keys:
                del self._by_need[need]
        share.needs -= needs

    def pop(self, served: Served, limit: int, nested_only: Container[int], apart: bool = False) -> list[Run]:
        """Take up to `limit` runs of one template and flow run for an agent, from whose turn it is.

        Those that are executed `apart` from slots wait beside each other: of these the number counts.
        """
        ring = self._apart if apart else self._slots
        if len(ring.left_ms) == 1:
            return self._pop_alone(ring, served, limit, nested_only)
        found = self._next(ring, served, nested_only)
        if found is None:
            return []
        share, runs = found
        key, left_ms = share.key, ring.left_ms
        cost = LEAST_MS if apart else cost_of(runs[0].template)
        taken = take_alike(runs, min(limit, max(1, int(left_ms[key] / cost))))
        left_ms[key] -= cost * len(taken)
        if not runs and share.empty:
            self._remove(share)
        elif left_ms[key] <= 0.0:
            ring.end_turn(key)
        return taken

    def _pop_alone(self, ring: Ring, served: Served, limit: int, nested_only: Container[int]) -> list[Run]:
        """Take runs of the only session there is: no turn limits it, and it has none left if others come."""
        (key,) = ring.left_ms
        share = self.shares[key]
        if served.isdisjoint(share.needs):
            return []
        runs = share.first(served, key in nested_only)
        if runs is None:
            if key not in nested_only:
                self._had_nothing(share, served)
            return []
        ring.left_ms[key] = 0.0
        taken = take_alike(runs, limit)
        if not runs and share.empty:
            self._remove(share)
        return taken

    def _had_nothing(self, share: Share, served: Served) -> None:
        """Note that a session turned out to have nothing of what was asked for."""
        if share.empty:
            self._remove(share)
        else:
            self._forget(share, share.needs & served)

    def _next(
        self, ring: Ring, served: Served, nested_only: Container[int]
    ) -> tuple[Share, deque[Run]] | None:
        """Return whose turn it is among those that have something for an agent, and what they have."""
        found: tuple[Share, deque[Run]] | None = None
        nothing: list[Share] = []
        indebted: dict[int, tuple[Share, deque[Run]]] = {}
        for share in self._in_turn(ring, served):
            key = share.key
            restricted = key in nested_only
            runs = share.first(served, restricted)
            if runs is None:
                if not restricted:
                    nothing.append(share)
            elif ring.left_ms[key] > 0.0:
                found = share, runs
                break
            else:
                indebted[key] = share, runs
        for share in nothing:
            self._had_nothing(share, served)
        if found is not None:
            for key in indebted:
                ring.end_turn(key)
        elif indebted:
            # Nobody has anything left: so many rounds are over at once as the first one needs.
            ring.pay(list(indebted))
            for key, one in indebted.items():
                if ring.left_ms[key] > 0.0:
                    found = one
                    break
                ring.end_turn(key)  # passed over once more: whose turn it is now gets one more as well
        return found

    def _in_turn(self, ring: Ring, served: Served) -> Iterator[Share]:
        """Iterate over the sessions that may have something for an agent, in the order of their turns."""
        passed, place = 0, -1
        for key in ring.left_ms:
            share = self.shares[key]
            if not served.isdisjoint(share.needs):
                yield share
                continue
            passed += 1
            if passed > MANY_PASSED:
                place = ring.places[key]
                break
        else:
            return
        needs = self._by_need.keys() & served
        keys = {key for need in needs for key in self._by_need[need] if ring.places[key] > place}
        heap = [(ring.places[key], key) for key in keys]
        heapify(heap)
        while heap:
            yield self.shares[heappop(heap)[1]]
