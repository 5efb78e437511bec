"""What is counted of the arguments and inputs of open runs in memory, and what is left to the database.

Ceilings hold for a session, for a queue and in all. A payload that would go beyond one is not kept: its run
has only its size, and it is read, with many others at a time, when the run is sent to an agent. Nothing is
kept for a run that an agent has: if it is tried again, what is large is read again. Headers, which are small,
stay with the run; they are counted, so that where many have some there is less room for payload.

Invariants: a run's `held_bytes` are in the account of its session, its queue and in all, exactly once; all
that was kept is let go with the run, when it is sent, ends or turns out to never have been recorded.
"""

from typing import Final

from taskyard_controlplane.domain.memory import (
    ALWAYS_KEPT,
    DEFAULT_MEMORY,
    Input,
    Kept,
    ManyInputs,
    MemoryLimits,
)
from taskyard_controlplane.domain.model import Run, Submitter

OBJECT_BYTES: Final = 48
"""What arguments take in memory beside their bytes: as much again, where they are small."""


class PayloadLedger:
    """Keeps account. Every method takes the same short time for each run or input it is about."""

    def __init__(self, limits: MemoryLimits = DEFAULT_MEMORY) -> None:
        """Hold at most what `limits` say."""
        self._limits = limits
        self.total = 0
        """Bytes in memory that are counted."""
        self._by_queue: dict[str, int] = {}
        self._unowned = 0

    def admits(self, run: Run, size: int) -> bool:
        """Whether so many more bytes of a run may be in memory; counts them if so."""
        session, queue, limits = run.session, run.template.queue, self._limits
        of_session = (self._unowned if session is None else session.held_bytes) + size
        of_queue = self._by_queue.get(queue, 0) + size
        if (
            self.total + size > limits.payload
            or of_session > limits.session_payload
            or of_queue > limits.queue_payload
        ):
            return False
        self.count(run, size)
        return True

    def count(self, run: Run, size: int) -> None:
        """Count so many more bytes of a run, which are kept whatever there is room for."""
        session, queue = run.session, run.template.queue
        self.total += size
        self._by_queue[queue] = self._by_queue.get(queue, 0) + size
        if session is None:
            self._unowned += size
        else:
            session.held_bytes += size
        run.held_bytes += size

    def leave(self, run: Run, inputs: list[Input]) -> ManyInputs:
        """Return all inputs of a run as left to the database."""
        kept, counted = 0, 0
        for _, result, outcome in inputs:
            payload = result if outcome is None else outcome
            if isinstance(payload, bytes):
                kept += len(payload)
                counted += len(payload) if len(payload) > ALWAYS_KEPT else 0
        run.absent_bytes += kept
        self._discount(run, counted)
        return ManyInputs(inputs)

    def hold(self, run: Run) -> None:
        """Keep the arguments of a run that was added or read back, if there is room for them."""
        args = run.args
        if args and not isinstance(args, int) and not self.admits(run, len(args) + OBJECT_BYTES):
            run.args = len(args)
            run.absent_bytes += len(args)

    def put_away(self, run: Run) -> None:
        """Leave to the database what is large of a run that is sent to an agent."""
        self.let_go(run)
        run.args = self._left(run, run.args)
        if isinstance(run.inputs, list) and run.input_bytes > ALWAYS_KEPT:
            run.inputs = self._inputs_left(run, run.inputs)

    def _inputs_left(self, run: Run, inputs: list[Input]) -> list[Input]:
        left = inputs.copy()
        for position, (upstream_id, result, outcome) in enumerate(inputs):
            payload = result if outcome is None else outcome
            if isinstance(payload, bytes) and len(payload) > ALWAYS_KEPT:  # of thousands, mostly none
                left[position] = upstream_id, self._left(run, result), self._left(run, outcome)
        return left

    def _left(self, run: Run, kept: Kept) -> Kept:
        if kept is None or isinstance(kept, int) or len(kept) <= ALWAYS_KEPT:
            return kept
        run.absent_bytes += len(kept)
        return len(kept)

    def let_go(self, run: Run) -> None:
        """Count a run's payload no more."""
        self._discount(run, run.held_bytes)

    def _discount(self, run: Run, size: int) -> None:
        session, queue = run.session, run.template.queue
        if not size:
            return
        run.held_bytes -= size
        self.total -= size
        rest = self._by_queue[queue] - size
        if rest:
            self._by_queue[queue] = rest
        else:
            del self._by_queue[queue]
        if session is None:
            self._unowned -= size
        else:
            session.held_bytes -= size

    def hand_over(self, run: Run, session: Submitter | None) -> None:
        """Count a run's payload, as much of it as is counted, for another session from now on."""
        size = run.held_bytes
        for each, change in ((run.session, -size), (session, size)):
            if each is None:
                self._unowned += change
            else:
                each.held_bytes += change
