"""Counts runs by state.

Ended runs are counted in the database, as many as a listing would look at. Open runs have to be gone through:
which of them fit, the database knows, and their states only the owner. So that happens in parts, newest
first, and others have their turn on the event loop in between. It is as much work as there are open runs that
fit. Where these are few they are looked for ten times as far as ended ones, and no further: one that has run
for a week is what somebody looks for.
"""

from collections import Counter
from typing import Final, NamedTuple

from taskyard_api.v1 import run_service_pb2 as pb
from taskyard_contract.states import FIRST_FINAL, RunState
from taskyard_controlplane.reading.background import Background
from taskyard_controlplane.reading.runs import Live, RunReader
from taskyard_controlplane.storage.interface import MOST_LOOKED_AT, Reader, RunFilter

PART: Final = 2_000
"""Open runs gone through at once: a millisecond or two of the event loop."""
MOST_FOR_OPEN: Final = 10 * MOST_LOOKED_AT
"""How many runs are looked at for those that are open, where these are few."""

_IN_HAND: Final = frozenset({int(RunState.ASSIGNED), int(RunState.RUNNING)})
"""The states that are never recorded: a run in one of them is in the owner's memory."""


class Counts(NamedTuple):
    """How many runs are in each state that any is in."""

    by_state: dict[int, int]
    searched_to_us: int
    """Since when the runs that were looked at were submitted; 0 when all were."""


class RunCounter:
    """Counts runs that fit a filter."""

    def __init__(self, reader: Reader, background: Background, reading: RunReader, live: Live) -> None:
        """Count in a database what `reading` would list; `live` knows the states of open runs."""
        self._reader = reader
        self._background = background
        self._reading = reading
        self._live = live

    async def count(self, wanted: pb.RunFilter) -> Counts:
        """Count the runs that fit."""
        if _are_known_by_owner(wanted):
            return self._in_hand(wanted)
        recorded = await self._reading.recorded(wanted)
        if recorded is None:
            return Counts({}, 0)
        states = frozenset(int(state) for state in wanted.states)
        counts: Counter[int] = Counter()
        searched_to_us = 0
        if not recorded.states or max(recorded.states) >= FIRST_FINAL:
            final = tuple(state for state in states if state >= FIRST_FINAL)
            ended = recorded._replace(states=final)
            found = await self._background(self._reader.ended_counts, ended)
            counts.update(found.counts)
            searched_to_us = found.reached_us
        if not recorded.states or min(recorded.states) < FIRST_FINAL:
            still_open = await self._open(recorded, states, wanted.agent_name)
            counts.update(still_open.by_state)
            searched_to_us = max(searched_to_us, still_open.searched_to_us)
        return Counts(dict(counts), searched_to_us)

    def _in_hand(self, wanted: pb.RunFilter) -> Counts:
        """Count those of some runs that are executed: all these are in memory, and nowhere else."""
        found = (self._live(run_id) for run_id in set(wanted.run_ids))
        states = frozenset(int(state) for state in wanted.states)
        return Counts(dict(Counter(one.state for one in found if one is not None and one.state in states)), 0)

    async def _open(self, recorded: RunFilter, states: frozenset[int], agent_name: str) -> Counts:
        counts: Counter[int] = Counter()
        beyond: int | None = None
        left = MOST_FOR_OPEN
        while True:
            found = await self._background(
                self._reader.open_runs, recorded, beyond, PART, min(left, MOST_LOOKED_AT)
            )
            for run_id, recorded_state in found.runs:
                live = self._live(run_id)
                if agent_name and (live is None or live.agent_name != agent_name):
                    continue
                state = recorded_state if live is None else live.state
                if not states or state in states:
                    counts[state] += 1
            beyond = found.next_seq
            if len(found.runs) < PART:
                left -= found.looked_at  # what is full of open runs is no search
            if beyond is None or left <= 0:
                return Counts(counts, found.reached_us)


def _are_known_by_owner(wanted: pb.RunFilter) -> bool:
    """Say whether it is asked which of some runs are executed, and nothing else: programs ask that often."""
    if not wanted.run_ids or not wanted.states or not _IN_HAND.issuperset(map(int, wanted.states)):
        return False
    return wanted == pb.RunFilter(run_ids=wanted.run_ids, states=wanted.states)
