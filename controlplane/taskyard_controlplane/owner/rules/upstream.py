"""Dependencies between runs: which runs wait for which, and what they get from them.

Edges live in memory on the upstream run; the database keeps each run's own list, from which recovery rebuilds
them. Invariant: a run is released exactly once, after the commit of its own submission and of the end of
every upstream run.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from taskyard_contract.states import RunState, StateReason, UpstreamKind
from taskyard_controlplane.domain.edges import IF_SUBMITTED, Edge, accepts, awaited, pack_edges, split_edges
from taskyard_controlplane.domain.events import RunEvent
from taskyard_controlplane.domain.memory import ALWAYS_KEPT, DEFAULT_MEMORY, MANY_INPUTS, Kept, ManyInputs
from taskyard_controlplane.domain.model import Run
from taskyard_controlplane.owner.journal.journal import Journal
from taskyard_controlplane.owner.journal.run_book import Ended, RunBook
from taskyard_controlplane.owner.rules.outcome_messages import (
    never_message,
    too_large_inputs,
    upstream_message,
)
from taskyard_controlplane.owner.rules.parked import Parked
from taskyard_controlplane.owner.rules.settling import Settling
from taskyard_controlplane.storage.interface import RunEnd

HOLD: Final = 1 << 30
"""Added to the number of open upstream runs until the run's own submission is durable."""
TOLD_AT_ONCE: Final = 1_024
"""So many of those that wait for one run are told of its end, and the next when that is durable: if it failed
they end with it, each with a row and what follows, and memory would hold all of that at a time."""
_COMPLETED: Final = int(RunState.COMPLETED)
_WITH_DATA: Final = (int(UpstreamKind.DATA), int(UpstreamKind.DATA_OR_FAILURE))


_NEVER: Final[Ended] = (0, None, None)
"""How a run ended that there is not."""


def _ahead_of(run: Run, some: Iterable[Run]) -> set[Run]:
    """Return those of some runs that a run waits for, through however many others, or that are it.

    Each of those in between is looked at once, however many of `some` lead to it.
    """
    ahead, seen = {run}, {run}
    for start in some:
        path = [(start, iter(_waiting_for(start)))] if start not in seen else []
        seen.add(start)
        while path:
            further = next(path[-1][1], None)
            if further is None:
                path.pop()
            elif further not in seen:
                seen.add(further)
                path.append((further, iter(_waiting_for(further))))
            elif further in ahead:
                ahead.update(each for each, _ in path)
    return ahead


def _waiting_for(run: Run) -> list[Run]:
    return [waiting for waiting, _ in _edges(run.downstream or [])]


def _edges(waiting: list[Any]) -> Iterator[tuple[Run, int]]:
    """Iterate over edges that are kept flat."""
    each = iter(waiting)
    return zip(each, each, strict=True)


class UpstreamEdges:
    """The waiting runs of a shard."""

    def __init__(
        self,
        book: RunBook,
        journal: Journal,
        settling: Settling,
        max_input_bytes: int = DEFAULT_MEMORY.inputs,
    ) -> None:
        """Connect the runs of `book`, and those that ended a short while ago.

        A run whose inputs have more than `max_input_bytes` together fails without being executed.
        """
        self._admits, self._leave = book.ledger.admits, book.ledger.leave
        self._max_input_bytes = max_input_bytes
        self._runs, self._recent = book.runs, book.recent
        self._journal = journal
        self.parked = Parked()
        """Runs that are not in memory and wait for others."""
        self._parked_for = self.parked.awaited
        self._apply, self._hurry = settling.apply, settling.hurry
        self._unknown: dict[bytes, list[Run | int]] = {}
        """Who waits for runs that are not in memory; as `Run.downstream`."""
        self._late: dict[Run, dict[bytes, None]] = {}
        """Runs that wait for others which may never be submitted: those they have not asked for yet."""
        self._late_for: dict[bytes, dict[Run, None]] = {}
        """The same by those that are waited for. Apart from others, which are answered when they ask: that
        there is no such run yet says nothing to these."""
        self._said: tuple[bytes, str] = (b"", "")
        """What was said last of a run that did not complete."""

    def connect(self, run: Run, edges: Sequence[Edge]) -> None:
        """Make a new run wait for its upstream runs, and for its own commit."""
        if run.upstream is None:  # or it was read back
            run.upstream = pack_edges(edges)
        run.upstream_left += HOLD
        caller_id = run.waited_for_by
        for upstream_id, kind in awaited(edges):
            upstream = self._runs.get(upstream_id)
            if upstream is not None:
                if caller_id:
                    self._hurry(upstream, caller_id)
                run.upstream_left += 1
                if upstream.downstream is None:
                    upstream.downstream = []
                upstream.downstream += (run, kind)
                continue
            ended = self._recent.get(upstream_id)
            if ended is not None:
                self._deliver(run, upstream_id, kind, ended)
                continue
            if kind == IF_SUBMITTED:
                self._wait_late(run, upstream_id)
                continue
            run.upstream_left += 1
            self._wait_unknown(run, upstream_id, kind)

    def _wait_unknown(self, run: Run, upstream_id: bytes, kind: int) -> None:
        """Make a run wait for one that is not in memory, which is asked for."""
        self._ask(upstream_id)
        self._unknown.setdefault(upstream_id, []).extend((run, kind))

    def _wait_late(self, run: Run, upstream_id: bytes) -> None:
        """Make a run wait for one that may never be submitted; twice is once."""
        late = self._late.setdefault(run, {})
        if upstream_id not in late:
            run.upstream_left += 1
            late[upstream_id] = None
            self._late_for.setdefault(upstream_id, {})[run] = None

    def park(self, seq: int, lane: int, edges: Sequence[Edge]) -> bool:
        """Let a new run wait without a record, unless it need not wait."""
        unsettled: list[Edge] = []
        for edge in awaited(edges):
            ended = self._recent.get(edge[0])
            if ended is None:
                unsettled.append(edge)
            elif not accepts(edge[1], ended[0]):
                return False
        if not unsettled:
            return False
        for upstream_id, _ in unsettled:
            if upstream_id not in self._runs:
                self._ask(upstream_id)
        self.parked.add(seq, lane, unsettled)
        return True

    def _ask(self, upstream_id: bytes) -> None:
        """Ask how a run ended that is not in memory, unless somebody waits for it already: then it is open,
        or about to be answered.
        """
        if upstream_id not in self._unknown and upstream_id not in self._parked_for:
            self._journal.look_up_run(upstream_id)

    def redeliver(self, run: Run) -> None:
        """Give a recovered run, which was released before, its inputs again."""
        for upstream_id, kind in awaited(split_edges(run.upstream or b"")):
            ended = self._recent.get(upstream_id)
            if ended is not None and accepts(kind, ended[0]):
                self._deliver(run, upstream_id, kind, ended)

    def submitted(self, run: Run) -> None:
        """Note that a run's own submission is durable."""
        run.upstream = None  # its row has it, and those it waits for know
        if run.upstream_left >= HOLD:  # or its session waits for them
            run.upstream_left -= HOLD
            self._check(run)

    def ended(self, upstream: Run) -> None:
        """Tell the runs that wait for `upstream` that its end is durable."""
        self.parked.ended(upstream.run_id, upstream.state)
        ended = (upstream.state, upstream.result, upstream.outcome)
        waiting = upstream.downstream or []
        upstream.downstream = None
        if self._unknown:
            waiting += self._unknown.pop(upstream.run_id, ())
        if self._late_for:
            waiting += self._late_ones(upstream.run_id)
        self._tell(upstream.run_id, waiting, ended)

    def _tell(self, upstream_id: bytes, waiting: list[Any], ended: Ended) -> None:
        """Tell those who wait for a run how it ended, in the order in which they came."""
        if len(waiting) > 2 * TOLD_AT_ONCE:
            waiting.reverse()  # so that what was told goes from the end, and its records with it
            self._tell_some(upstream_id, waiting, ended)
            return
        for run, kind in _edges(waiting):
            run.upstream_left -= 1
            self._deliver(run, upstream_id, kind, ended)
            self._check(run)

    def _tell_some(self, upstream_id: bytes, backwards: list[Any], ended: Ended) -> None:
        some = backwards[: -2 * TOLD_AT_ONCE - 1 : -1]
        del backwards[-2 * TOLD_AT_ONCE :]
        self._tell(upstream_id, some, ended)
        if backwards:
            self._journal.then(lambda: self._tell_some(upstream_id, backwards, ended))

    def looked_up(self, asked: list[bytes], found: list[RunEnd]) -> None:
        """Take the answer of the database about upstream runs that were not in memory.

        Runs of the backlog are found open: their waiters stay until they are loaded and end.
        """
        stored = {row.run_id: row for row in found}
        there: list[Run] = []
        for upstream_id in asked:
            upstream = self._runs.get(upstream_id)
            if upstream is not None:  # it was loaded, or submitted after those that wait for it
                there.append(upstream)
                continue
            row = stored.get(upstream_id)
            if row is not None and row.state < _COMPLETED:
                continue
            ended = (row.state, row.result, row.outcome) if row is not None else _NEVER
            self.parked.ended(upstream_id, ended[0])
            self._tell(upstream_id, self._unknown.pop(upstream_id, []), ended)
        # Of a chain, where each waits for one that came after it, the last one first: otherwise all that wait
        # for those before would be looked at each time.
        for upstream in reversed(there):
            self._connect_later(upstream)

    def _connect_later(self, upstream: Run) -> None:
        """Let those wait for a run that were there before it; except where it waits for them."""
        edges = list(_edges(self._unknown.pop(upstream.run_id, [])))
        waits = upstream.upstream_left % HOLD  # nearly none does: then nothing leads in a circle
        ahead = _ahead_of(upstream, [run for run, _ in edges]) if waits else set()
        if upstream.downstream is None:
            upstream.downstream = []
        for run, kind in edges:
            if run in ahead:
                run.upstream_left -= 1
                self._deliver(run, upstream.run_id, kind, _NEVER)
                self._check(run)
            else:
                upstream.downstream += (run, kind)

    def look_up(self, upstream: Run) -> None:
        """Ask the database about a run whose record here was not the real one."""
        waiting, upstream.downstream = upstream.downstream, None
        if waiting is not None:
            self._unknown.setdefault(upstream.run_id, []).extend(waiting)
        if waiting is not None or upstream.run_id in self._parked_for:
            self._journal.look_up_run(upstream.run_id)

    def not_recorded(self, upstream: Run) -> None:
        """Ask about a run that was refused, for those which were there before it and wait for it still."""
        if any(not run.ended for run in _waiting_for(upstream)):
            self.look_up(upstream)

    @property
    def awaited(self) -> int:
        """How many runs that are not in memory others wait for, and how much is kept of parked ones."""
        return len(self._unknown) + len(self._late) + len(self._late_for) + self.parked.kept()

    def waits_for(self, upstream_id: bytes) -> bool:
        """Whether others wait for a run whose record, if there is one, does not say so."""
        return (
            upstream_id in self._unknown or upstream_id in self._late_for or upstream_id in self._parked_for
        )

    def waits_late_for(self, upstream_id: bytes) -> bool:
        """Whether others wait for a run without an edge in its record, in case that it is submitted."""
        if upstream_id in self._late_for:
            return True
        return any(kind == IF_SUBMITTED for _, kind in _edges(self._unknown.get(upstream_id, [])))

    def _deliver(self, run: Run, upstream_id: bytes, kind: int, ended: Ended) -> None:
        state, result, outcome = ended
        if run.state >= _COMPLETED:
            return  # cancelled, or failed for another of its upstream runs: nothing is kept for it any more
        if not accepts(kind, state):
            if run.reason != StateReason.UPSTREAM:
                run.reason = StateReason.UPSTREAM
                run.message = self._why(upstream_id, outcome) if state else never_message(upstream_id)
        elif kind in _WITH_DATA:
            if run.inputs is None:
                run.inputs = []
            elif len(run.inputs) == MANY_INPUTS and isinstance(run.inputs, list):
                run.inputs = self._leave(run, run.inputs)
            payload = result if outcome is None else outcome
            if isinstance(payload, bytes):
                size = len(payload)
                run.input_bytes += size
                if isinstance(run.inputs, ManyInputs):
                    run.absent_bytes += size
                elif size > ALWAYS_KEPT and not self._admits(run, size):
                    run.absent_bytes += size
                    result, outcome = (size, None) if outcome is None else (None, size)
            elif payload is not None:
                run.input_bytes += payload
                run.absent_bytes += payload
            run.inputs.append((upstream_id, result, outcome))

    def _why(self, upstream_id: bytes, outcome: Kept) -> str:
        """Say why those that wait for a run never start: read once, however many these are."""
        known_id, text = self._said
        if known_id != upstream_id:
            text = upstream_message(upstream_id, outcome)
            self._said = upstream_id, text
        return text

    def _check(self, run: Run) -> None:
        if self._late and run in self._late:
            self._ask_late(run)
        if run.state != RunState.PENDING or run.upstream_left >= HOLD:
            return
        if run.reason == StateReason.UPSTREAM:
            run.inputs = None
            self._apply(run, RunEvent.UPSTREAM_FAILED, reason=StateReason.UPSTREAM)
        elif run.input_bytes > self._max_input_bytes:
            run.inputs = None
            message = too_large_inputs(run.input_bytes, self._max_input_bytes)
            self._apply(run, RunEvent.INPUTS_REFUSED, message=message)
        elif run.upstream_left == 0:
            self._apply(run, RunEvent.UPSTREAM_DONE)

    # Those that wait for runs which may never be submitted.

    def _ask_late(self, run: Run) -> None:
        """Ask for those that may never be submitted, once nothing else keeps a run: they are there by now."""
        if run.ended or run.reason == StateReason.UPSTREAM:
            self.forget_late(run)
        elif run.upstream_left == len(self._late[run]):
            for upstream_id in self.forget_late(run):
                self._wait_unknown(run, upstream_id, IF_SUBMITTED)

    def _late_ones(self, upstream_id: bytes) -> list[Any]:
        """Take those that wait for a run they have not asked for; as `Run.downstream`."""
        taken: list[Any] = []
        for run in self._late_for.pop(upstream_id, ()):
            taken += (run, IF_SUBMITTED)
            late = self._late[run]
            del late[upstream_id]
            if not late:
                del self._late[run]
        return taken

    def forget_late(self, run: Run) -> Iterable[bytes]:
        """Take from a run those that it has not asked for: it has ended, was refused, or asks now."""
        late = self._late.pop(run, {})
        for upstream_id in late:
            others = self._late_for[upstream_id]
            del others[run]
            if not others:
                del self._late_for[upstream_id]
        return late
