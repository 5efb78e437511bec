"""The runs of a shard that are in memory, and where to find them: by id, by flow run, by session.

Invariants: a run is in the book from its submission, or from being read back, until its end is durable; every
index holds exactly the runs of the book it is about. So whoever changes the session of a run does it here.

The indexes cost a dictionary entry and about 0.1 us per run each, so there are two: by id, and by flow run
and session, which nearly always go together. The second is there because the end of a session or of a flow
run must not cost a pass over everybody's runs.
"""

from collections import deque
from itertools import chain, islice, takewhile
from typing import Final

from taskyard_contract.states import RunKind
from taskyard_controlplane.domain.memory import DEFAULT_MEMORY, Kept, MemoryLimits
from taskyard_controlplane.domain.model import SESSION, Run, Submitter
from taskyard_controlplane.owner.journal.payload_ledger import PayloadLedger
from taskyard_controlplane.owner.journal.progress import ProgressOfRuns

MAX_RECENT: Final = 8_192
"""Runs whose end is remembered at least (twice as many at most): those submitted next often depend on them,
and find them here without a look-up. More than a client may have under way in unacknowledged batches."""
RECENT_ROUNDS: Final = 10
"""Rounds of upkeep, half a minute, after which an end is not recent: it would keep memory around it that the
runs of a burst have left."""
MAX_RECENT_BYTES: Final = 4_096
"""Larger outcomes are not remembered, so that all of them together stay below 64 MiB."""

Ended = tuple[int, Kept, Kept]  # state, result, outcome


class RunBook:
    """The open runs in memory, and how the last ones ended."""

    def __init__(self, limits: MemoryLimits = DEFAULT_MEMORY) -> None:
        """Know no runs; keep as much of their payload as `limits` say."""
        self.ledger = PayloadLedger(limits)
        """What is counted of the payload of these runs. They take it along when they leave."""
        self.runs: dict[bytes, Run] = {}
        """By id. To be read by everybody, and changed by nobody else."""
        self.recent: dict[bytes, Ended] = {}
        """How runs ended whose end is durable, the oldest first."""
        self._newest: deque[bytes | None] = deque()
        """The newest of these, at each of the last rounds of upkeep."""
        self.flows_by_seq: dict[int, Run] = {}
        """Flow runs by the number under which rows refer to them."""
        self.ending_flows: dict[int, Run] = {}
        """Flow runs that may have ended, but not all that is inside them in the backlog."""
        self.orphans: dict[str, list[Run]] = {}
        """Runs an earlier owner assigned, by agent, until that agent has said what it still holds."""
        self.progress = ProgressOfRuns()
        """What these runs said last of their progress."""
        # Dictionaries as ordered sets: what ends with a session or a flow run ends in the order it came.
        self._groups: dict[Run | None, dict[Submitter | None, dict[Run, None]]] = {}
        self._flows_of: dict[Submitter, dict[Run | None, None]] = {}
        self._read_back: dict[int, None] = {}
        self.strays: dict[int, int] = {}
        """Flow runs, by their numbers, of runs that were read back after those had ended."""

    def flow_of(self, seq: int) -> Run | None:
        """Return a flow run that runs which are read back belong to: open, or just being ended with them."""
        return self.flows_by_seq.get(seq) or self.ending_flows.get(seq)

    def flow_seq_of(self, run: Run) -> int:
        """Return the number of the flow run that a run of the book is in, 0 for none."""
        if run.flow is not None:
            return run.flow.seq
        return self.strays.get(run.seq, 0) if self.strays else 0

    def add(self, run: Run, *, read_back: bool = False) -> None:
        """Add a run that is new, or was `read_back` from the database after later ones had been added."""
        self.runs[run.run_id] = run
        if read_back:
            self._read_back[run.seq] = None
        self._enter(run)
        if run.headers is not None:
            self.ledger.count(run, len(run.headers))
        if run.template.kind == RunKind.FLOW:
            self.flows_by_seq[run.seq] = run

    def add_alike(self, run_ids: list[bytes], runs: list[Run]) -> None:
        """Add new runs for agents that have session and flow run in common; quicker than one by one."""
        self.runs.update(zip(run_ids, runs, strict=True))
        self._group(runs[0].flow, runs[0].session).update(dict.fromkeys(runs))

    def hand_over(self, run: Run, session: Submitter) -> None:
        """Let a run of the book belong to another session."""
        if run.session is not session:
            self._leave(run)
            self.ledger.hand_over(run, session)
            run.session = session
            self._enter(run)

    def remove(self, run: Run) -> None:
        """Take a run out. Its session stays known to it, so that somebody can be told why."""
        if self.runs.get(run.run_id) is run:
            del self.runs[run.run_id]
        self.ledger.let_go(run)
        self._leave(run)
        if self.progress:
            self.progress.forget(run.run_id)
        if self._read_back:
            self._read_back.pop(run.seq, None)
        if self.strays:
            self.strays.pop(run.seq, None)
        if run.template.kind == RunKind.FLOW:
            self.flows_by_seq.pop(run.seq, None)

    def _group(self, flow: Run | None, session: Submitter | None) -> dict[Run, None]:
        sessions = self._groups.get(flow)
        if sessions is None:
            sessions = self._groups[flow] = {}
        group = sessions.get(session)
        if group is None:
            group = sessions[session] = {}
            if session is not None:
                self._flows_of.setdefault(session, {})[flow] = None
        return group

    def _drop_group(self, flow: Run | None, session: Submitter | None) -> None:
        sessions = self._groups[flow]
        del sessions[session]
        if not sessions:
            del self._groups[flow]
        if session is not None:
            flows = self._flows_of[session]
            del flows[flow]
            if not flows:
                del self._flows_of[session]

    def _enter(self, run: Run) -> None:
        flow, session = run.flow, run.session
        self._group(flow, session)[run] = None
        if session is not None and run.template.executor == SESSION:
            session.executing[run.run_id] = run

    def _leave(self, run: Run) -> None:
        flow, session = run.flow, run.session
        if session is not None and run.template.executor == SESSION:
            session.executing.pop(run.run_id, None)
        group = self._groups.get(flow, {}).get(session)
        if group is not None and run in group:
            del group[run]
            if not group:
                self._drop_group(flow, session)

    def ended(self, run: Run) -> None:
        """Take out a run whose end is durable, and remember the end for those that come to ask."""
        session, flow, result, outcome = run.session, run.flow, run.result, run.outcome
        if run.template.executor == SESSION:
            self.remove(run)
        else:
            # `remove` once more, for what nearly all runs are: this happens to every run there is, and the
            # calls would cost half of it.
            self.runs.pop(run.run_id, None)
            if run.held_bytes:
                self.ledger.let_go(run)
            sessions = self._groups.get(flow)
            if sessions is not None and (group := sessions.get(session)) is not None:
                group.pop(run, None)
                if not group:
                    self._drop_group(flow, session)
            if self.progress:
                self.progress.forget(run.run_id)
            if self._read_back:
                self._read_back.pop(run.seq, None)
            if self.strays:
                self.strays.pop(run.seq, None)
        payload = result if outcome is None else outcome
        if payload is None or len(payload) <= MAX_RECENT_BYTES:
            self.recent[run.run_id] = (run.state, result, outcome)

    def forget_old(self) -> None:
        """Forget the ends that are not recent any more."""
        if len(self.recent) > 2 * MAX_RECENT:
            for run_id in list(self.recent)[:MAX_RECENT]:
                del self.recent[run_id]

    def upkeep(self) -> None:
        """Forget the ends that have been remembered for a while, however few they are."""
        self._newest.append(next(reversed(self.recent), None))
        if len(self._newest) <= RECENT_ROUNDS:
            return
        newest = self._newest.popleft()
        if newest is None or newest not in self.recent:
            return
        for run_id in [*takewhile(lambda each: each != newest, self.recent), newest]:
            del self.recent[run_id]

    def of_session(self, session: Submitter) -> list[Run]:
        """Return the runs that belong to a session, in the order they came: they end with it."""
        groups = [self._groups[flow][session] for flow in self._flows_of.get(session, ())]
        return _in_order(groups)

    def inside(self, flow: Run) -> list[Run]:
        """Return the runs inside a flow run, in the order they came: they end with it."""
        return _in_order(list(self._groups.get(flow, {}).values()))

    def some_inside(self, flow: Run, most: int) -> list[Run]:
        """Return up to so many of the runs inside a flow run, session by session in the order they came."""
        groups = self._groups.get(flow, {}).values()
        return list(islice(chain.from_iterable(groups), most))

    def count_inside(self, flow: Run) -> int:
        """Return how many runs inside a flow run are in memory."""
        return sum(map(len, self._groups.get(flow, {}).values()))

    def open_run(self, run_id: bytes) -> Run | None:
        """Return a run that has not ended."""
        run = self.runs.get(run_id)
        return None if run is None or run.ended else run

    def low_seq(self) -> int | None:
        """Return a number that no run of the book has a lower seq than; None when the book is empty."""
        # Runs are added in the order of their numbers, but for those that were read back: so the first one is
        # the oldest of the others, and nobody has to look at all of them.
        first = next(iter(self.runs.values()), None)
        return min([first.seq, *self._read_back]) if first is not None else None

    def kept(self) -> dict[str, int]:
        """Return how much is kept of open runs, by where; all zero when none is open."""
        return {
            "runs": len(self.runs),
            "runs of flow runs": len(self._groups),
            "runs of sessions": len(self._flows_of),
            "flow runs": len(self.flows_by_seq),
            "runs read back": len(self._read_back),
            "runs of flow runs that had ended": len(self.strays),
            "progress": len(self.progress),
        }


def _in_order(groups: list[dict[Run, None]]) -> list[Run]:
    """Return the runs of some groups in the order in which they came."""
    if len(groups) == 1:
        return list(groups[0])
    return sorted((run for group in groups for run in group), key=lambda run: run.seq)
