"""What follows from an accepted event: rows now, everything that others can see after the commit.

Invariant: an effect that others can see is performed exactly once, after the commit that made the
transition durable.
"""

from typing import Final

from taskyard_contract.clock import Clock
from taskyard_contract.for_people.run_lines import why_failed
from taskyard_contract.states import RunState, StateReason
from taskyard_controlplane.domain.effects import AFTER_COMMIT, Effect
from taskyard_controlplane.domain.events import RunEvent
from taskyard_controlplane.domain.machine import give_up, transition
from taskyard_controlplane.domain.model import AGENT, HELD, Run
from taskyard_controlplane.domain.retries import LATEST_US
from taskyard_controlplane.owner.journal.journal import Journal
from taskyard_controlplane.owner.metrics import Metrics
from taskyard_controlplane.owner.named_blobs import blobs_of_outcome
from taskyard_controlplane.owner.rules.outcome_messages import SAID, Hit, copy_outcome, write_outcome
from taskyard_controlplane.owner.rules.retry_delays import RetryDelays
from taskyard_controlplane.owner.rules.telling import Telling
from taskyard_controlplane.owner.timers import Timer, Timers

_FOLLOWED: Final = int(AFTER_COMMIT | Effect.RECORD_EVENT)
"""What is remembered until it is durable: what is to be done then, and what others may want to hear of."""
_RECORD_END: Final = int(Effect.RECORD_END)
_RECORD_EVENT: Final = int(Effect.RECORD_EVENT)
_SET_RETRY_TIMER: Final = int(Effect.SET_RETRY_TIMER)
_NEXT_ATTEMPT: Final = int(Effect.NEXT_ATTEMPT)
_INFRA_RETRY: Final = int(Effect.INFRA_RETRY)


class Settling:
    """Turns effects into rows, timers and later actions."""

    def __init__(
        self,
        journal: Journal,
        timers: Timers,
        clock: Clock,
        metrics: Metrics,
        telling: Telling,
        delays: RetryDelays,
    ) -> None:
        """Settle into the open commit, where `telling` says what people are to hear of it."""
        self._telling = telling
        self._journal = journal
        self._timers = timers
        self._clock = clock
        self._metrics = metrics
        self.delays = delays
        """How long attempts that failed wait for the next."""
        self._retries: dict[int, Timer] = {}
        """By the seq of the run that waits for it. Few: runs that succeed at once never come here."""

    def hurry(self, run: Run, caller_id: bytes) -> None:
        """Let a run start as if a waiting run had called it, because what that has called waits for it.

        An agent where many runs wait starts nothing else, so that they would wait for each other.
        """
        if not caller_id or run.waited_for_by or run.template.executor != AGENT:
            return
        run.needed_by = caller_id
        if run.state == RunState.READY:
            run.queued = False  # where it stands now, it is passed over once it has begun
            self._journal.follows(run, int(Effect.ENQUEUE))

    def apply(
        self,
        run: Run,
        event: int,
        *,
        reason: int | None = None,
        message: str | None = None,
        state_name: str = "",
    ) -> int:
        """Apply an event to a run and settle what follows; 0 when it changed nothing."""
        before_attempt, started_us, asked = run.attempt, run.started_us, what_was_asked(run)
        effects = transition(run, event)
        if not effects:
            return 0
        run.reason = StateReason.NONE if reason is None else reason
        if message is not None:
            run.message = asked or message
        self.settle(run, effects, before_attempt, started_us, state_name)
        return effects

    def take_from_cache(self, run: Run, hit: Hit) -> None:
        """End a run with a result from the cache."""
        attempt = run.attempt
        effects = transition(run, RunEvent.CACHE_HIT)
        if effects:
            run.reason, run.ended_us = StateReason.CACHED, self._clock.now_us()
            run.started_us = None
            run.outcome = copy_outcome(run, hit)
            if hit[2] is not None:
                self._journal.result_named(run, blobs_of_outcome(run.outcome))
            self.settle(run, effects, attempt, None)

    def settle(
        self,
        run: Run,
        effects: int,
        attempt: int,
        started_us: int | None,
        state_name: str = "",
        why: str = "",
    ) -> None:
        """Write the rows of a transition and remember its effects until they are durable.

        Args:
            run: The run, after the transition.
            effects: What the transition said.
            attempt: Which attempt it was before.
            started_us: When that attempt had started.
            state_name: The name users gave to the state, if they did.
            why: Why an attempt failed, in a few words; its message when left out.
        """
        if run.agent is not None and run.state not in HELD:
            release(run)
        if self._retries and run.seq in self._retries:
            self._retries.pop(run.seq).cancel()  # it waited for its retry until now
        if effects & _RECORD_END:
            self._record_end(run, state_name)
        elif effects & _RECORD_EVENT:
            self._record_event(run, effects, attempt, started_us, state_name, why)
        if effects & _FOLLOWED:
            self._journal.follows(run, effects)

    def end_refused(self, run: Run) -> None:
        """Crash a run that was recorded, and whose template is refused today."""
        effects = self.give_up(run, str(run.template.refusal))
        self.tell_end(run)
        self._journal.ended(run)
        self._journal.follows(run, effects)

    def tell_end(self, run: Run) -> None:
        """Say of a run that was given up how it ended."""
        self._telling.ended(run)

    def give_up(self, run: Run, message: str) -> int:
        """Crash a run whose last transition cannot be recorded; returns what follows. Writes no row."""
        if run.agent is not None:
            run.agent.cancel(run)
        release(run)
        if run.seq in self._retries:
            self._retries.pop(run.seq).cancel()
        effects = give_up(run)
        run.reason, run.message = StateReason.NONE, message
        run.started_us, run.ended_us, run.result = None, self._clock.now_us(), None
        run.outcome = write_outcome(run)
        self._metrics.count_ended(run.state)
        return effects

    def _record_end(self, run: Run, state_name: str) -> None:
        run.ended_us = run.ended_us or self._clock.now_us()
        said = self._telling.ended(run, state_name)
        if run.result is None and run.outcome is None:
            run.outcome = write_outcome(run, state_name=state_name, said=said)
        elif said and run.outcome is not None:
            run.outcome += SAID
        self._journal.ended(run)
        if run.cache_key is not None and run.state == RunState.COMPLETED and run.reason != StateReason.CACHED:
            self._journal.cached(run, self._clock.now_us())
        self._metrics.count_ended(run.state)

    def _record_event(
        self, run: Run, effects: int, attempt: int, started_us: int | None, state_name: str, why: str
    ) -> None:
        now_us, delay = self._clock.now_us(), 0.0
        due_us = None
        if effects & _SET_RETRY_TIMER:
            delay = self.delays.of(run)
            due_us = min(now_us + round(delay * 1_000_000), LATEST_US)
            self.wake_later(run, delay)
        if effects & _NEXT_ATTEMPT:
            self._metrics.retries += 1
            if run.template.executor == AGENT:  # a session is told when to go on, and that is said with it
                why = why or why_failed("", "", run.message, run.reason)
                self._telling.retried(run, attempt, why, delay)
        if effects & _INFRA_RETRY:
            self._metrics.infra_retries += 1
            self._telling.repeated(run)
        if effects & (_NEXT_ATTEMPT | _INFRA_RETRY):
            if started_us is not None:
                # The attempt that ends here: the row of the run keeps only the last one's start.
                self._journal.event(run, started_us, state=RunState.RUNNING, reason=0, attempt=attempt)
            run.started_us = None
        self._journal.event(
            run, now_us, state=run.state, reason=run.reason, attempt=run.attempt, due_us=due_us,
            state_name=state_name, message=run.message,
        )  # fmt: skip

    def wake_later(self, run: Run, delay: float) -> None:
        """Let a run in AWAITING_RETRY become due."""
        if run.template.executor == AGENT:  # a session knows itself when to start again
            name = f"retry of '{run.shown_name}'"
            self._retries[run.seq] = self._timers.after(delay, lambda: self._due(run), name=name)

    def due_of(self, run: Run) -> float | None:
        """Return when the next attempt of a run is due, monotonic; None when it waits for none here."""
        timer = self._retries.get(run.seq)
        return timer.due if timer is not None and timer.pending else None

    def _due(self, run: Run) -> None:
        self.apply(run, RunEvent.DUE)


def what_was_asked(run: Run) -> str:
    """Return who asked for the end of a run that is being cancelled, and why: it is why the run ends, however
    its executor ended it. Empty for all others.
    """
    return run.message if run.state == RunState.CANCELLING else ""


def release(run: Run) -> None:
    """Note that no agent holds the run any more."""
    agent = run.agent
    if agent is not None:
        agent.held.pop(run.run_id, None)
        run.agent, run.last_agent = None, agent.identity
    if run.dispatch is not None:
        run.dispatch[1] -= 1
        run.dispatch = None
