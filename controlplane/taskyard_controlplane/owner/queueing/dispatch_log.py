"""What agents were assigned, as recovery needs it: one compact row per round, until all of its runs have
ended.

A row may go when no open run needs it, and rows go from the front only. So a single long run would keep all
that came after it; when most rows are over, what is still held is recorded again and the old rows go.
"""

from array import array
from collections import deque
from collections.abc import Iterable
from typing import Final

from taskyard_contract.clock import Clock
from taskyard_controlplane.domain.model import Run
from taskyard_controlplane.owner.journal.journal import Journal
from taskyard_controlplane.owner.peers.agent_session import AgentSession

FEW_DISPATCHES: Final = 64
"""Rows that are kept although most of them may have no open runs: reading so few back costs nothing."""


class DispatchLog:
    """Records who got what, and forgets it when it is over."""

    def __init__(self, journal: Journal, clock: Clock, number: int) -> None:
        """Record through `journal`; `number` is the first free number of a row."""
        self._journal = journal
        self._clock = clock
        self._number = number
        self._open: deque[list[int]] = deque()  # [number, runs not yet reported]; the runs share the entry
        self._compact_at = FEW_DISPATCHES

    @property
    def entries(self) -> list[list[int]]:
        """The rows that are not forgotten: their number, and how many of their runs have not ended."""
        return list(self._open)

    def record(self, agent: AgentSession, runs: list[Run]) -> None:
        """Log that an agent holds some runs, each under its epoch."""
        now_us = self._clock.now_us()
        self._journal.works(agent, now_us)
        entries = array("Q")
        entry = [self._number, len(runs)]
        for run in runs:
            entries.append(run.seq)
            entries.append(run.epoch)
            run.dispatch = entry
        self._open.append(entry)
        self._number += 1
        self._journal.dispatched(entry[0], agent, now_us, entries.tobytes())

    def forget(self, agents: Iterable[AgentSession]) -> int | None:
        """Return the number below which no row has open runs; None when nothing changed.

        Args:
            agents: Who may hold runs, in case that these have to be recorded again.
        """
        changed = False
        while self._open and self._open[0][1] <= 0:
            self._open.popleft()
            changed = True
        if len(self._open) >= self._compact_at:
            changed |= self._compact(agents)
        if not changed:
            return None
        return self._open[0][0] if self._open else self._number

    def _compact(self, agents: Iterable[AgentSession]) -> bool:
        ended = sum(remaining <= 0 for _, remaining in self._open)
        compact = ended * 2 >= len(self._open)
        if compact:
            self._open.clear()
            for agent in agents:
                held = [run for run in agent.held.values() if run.dispatch is not None]
                if held:
                    self.record(agent, held)
        self._compact_at = max(FEW_DISPATCHES, 2 * len(self._open))
        return compact
