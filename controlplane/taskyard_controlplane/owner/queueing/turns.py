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
"""

from collections import deque
from collections.abc import Container
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

    __slots__ = ("credit_ms", "families", "key", "new")

    def __init__(self, key: int) -> None:
        """Have a turn to come, and nothing to do in it yet; `key` is the number of the session."""
        self.key = key
        self.credit_ms = QUANTUM_MS
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


class Turns:
    """The sessions that have runs at one priority, in the order of their turns."""

    __slots__ = ("shares",)

    def __init__(self) -> None:
        """Begin with nobody."""
        self.shares: dict[int, Share] = {}

    def share(self, key: int) -> Share:
        """Return the share of a session, which comes last if it was not among them."""
        share = self.shares.get(key)
        if share is None:
            share = self.shares[key] = Share(key)
        return share

    def tidy(self) -> None:
        """Drop what ended while it waited, and who has nothing left."""
        self.shares = {key: share for key, share in self.shares.items() if share.tidy()}

    def pop(self, served: Served, limit: int, nested_only: Container[int], apart: bool = False) -> list[Run]:
        """Take up to `limit` runs of one template and flow run for an agent, from whose turn it is.

        Those that are executed `apart` from slots wait beside each other: of these the number counts.
        """
        found = self._next(served, nested_only)
        if found is None:
            return []
        share, runs = found
        alone = len(self.shares) == 1
        if alone:
            share.credit_ms = 0.0
            taken = take_alike(runs, limit)
        else:
            cost = LEAST_MS if apart else cost_of(runs[0].template)
            taken = take_alike(runs, min(limit, max(1, int(share.credit_ms / cost))))
            share.credit_ms -= cost * len(taken)
        if not runs and share.empty:
            del self.shares[share.key]
        elif share.credit_ms <= 0.0 and not alone:
            self._pass(share)
        return taken

    def _pass(self, share: Share) -> None:
        """End the turn of a session: the next one comes when all others have had theirs."""
        share.credit_ms += QUANTUM_MS
        self.shares[share.key] = self.shares.pop(share.key)

    def _next(self, served: Served, nested_only: Container[int]) -> tuple[Share, deque[Run]] | None:
        """Return whose turn it is among those that have something for an agent, and what they have."""
        found, gone = None, []
        indebted: list[tuple[Share, deque[Run]]] = []
        for share in self.shares.values():
            runs = share.first(served, share.key in nested_only)
            if runs is None:
                if share.empty:
                    gone.append(share.key)
            elif share.credit_ms > 0.0:
                found = share, runs
                break
            else:
                indebted.append((share, runs))
        for key in gone:
            del self.shares[key]
        if found is not None:
            for share, _ in indebted:
                self._pass(share)
        elif indebted:
            # Nobody has anything left: so many rounds are over at once as the first one needs.
            rounds = min(1 + int(-share.credit_ms // QUANTUM_MS) for share, _ in indebted)
            for share, _ in indebted:
                share.credit_ms += rounds * QUANTUM_MS
            found = next(one for one in indebted if one[0].credit_ms > 0.0)
        return found
