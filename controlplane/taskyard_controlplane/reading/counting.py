"""Counts runs by state.

Ended runs are counted in the database, as many as a listing would look at. Open runs have to be gone through:
which of them fit, the database knows, and their states only the owner. So that happens in parts, and others
have their turn on the event loop in between. It is as much work as there are open runs that fit.
"""

from collections import Counter
from typing import Final, NamedTuple

from taskyard_api.v1 import run_service_pb2 as pb
from taskyard_contract.states import FIRST_FINAL
from taskyard_controlplane.reading.background import Background
from taskyard_controlplane.reading.runs import Live, RunReader
from taskyard_controlplane.storage.interface import Reader, RunFilter

PART: Final = 2_000
"""Open runs gone through at once: a millisecond or two of the event loop."""


class Counts(NamedTuple):
    """How many runs are in each state that any is in."""

    by_state: dict[int, int]
    searched_to_us: int
    """When the oldest run that was looked at was submitted; 0 when all were."""


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
            counts += await self._open(recorded, states, wanted.agent_name)
        return Counts(dict(counts), searched_to_us)

    async def _open(self, recorded: RunFilter, states: frozenset[int], agent_name: str) -> Counter[int]:
        counts: Counter[int] = Counter()
        after: int | None = None
        while True:
            found = await self._background(self._reader.open_runs, recorded, after, PART)
            for run_id, recorded_state in found.runs:
                live = self._live(run_id)
                if agent_name and (live is None or live.agent_name != agent_name):
                    continue
                state = recorded_state if live is None else live.state
                if not states or state in states:
                    counts[state] += 1
            after = found.next_seq
            if after is None:
                return counts
