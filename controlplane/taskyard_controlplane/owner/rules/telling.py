"""What is said of runs: a line in the log of a run for each retry and for each end that is no completion.

Theory of operation. Only the control plane hears of every end: of those a worker reports, those of workers
and agents that died, of runs that were cancelled or never start. So it says all of them, workers say none,
and what is said once is said of every runner and in every language. The line is a log record in the commit of
the state, so a log has it exactly if the run has ended so. Of flow runs the completion is said as well: it is
the last line of their log, and their own process could only send it when nothing is recorded of them any
more.

Programs are shown the same lines. One that hears how its runs ended says so itself (`says_ends`), from the
outcome, which it gets however often it has to connect; what no outcome tells is sent after the commit:
retries, and whatever ended inside its tasks, whose outcomes their workers get.

Runs that complete cost nothing. What ends with its flow run or its session is said of all together, and of
what ends alike in great numbers only the first ones, so that a million ends do not make a million lines.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Final

from taskyard_contract.clock import Clock
from taskyard_contract.for_people import run_lines
from taskyard_contract.states import RunState, StateReason
from taskyard_contract.wire_text import LOG_LIMIT, bounded
from taskyard_controlplane.domain.model import SESSION, Run, Submitter
from taskyard_controlplane.owner.journal.journal import Journal
from taskyard_controlplane.owner.journal.run_book import RunBook
from taskyard_controlplane.owner.rules.listeners import listener_of

FLOW_ENDED: Final = "its flow run ended before the run could start"
"""Of runs that were withdrawn."""
MANY: Final = 10
"""Runs that are cancelled by one request, a Ctrl-C for example: of more it is not said one by one."""
TOGETHER: Final = "cancelled together with others"
"""Of such runs."""
MOST_ALIKE: Final = 1_000
"""Ends, or retries, of one task in one flow run that are said one by one in a while."""
WHILE_SECONDS: Final = 10.0
_MOST_KINDS: Final = 1_000
"""What is counted; the oldest is forgotten, and may be said as often once more."""
_RETRY: Final = 0
"""Instead of a final state: what is counted is retries."""

Kind = tuple[int, int, int]
"""Flow run, template and state."""


class Telling:
    """Says how runs and their attempts ended."""

    def __init__(self, journal: Journal, book: RunBook, clock: Clock) -> None:
        """Say it in the open commit of `journal`; `book` knows which run is inside which."""
        self._journal = journal
        self._runs = book.runs
        self._flow_seq_of = book.flow_seq_of
        self._clock = clock
        self._counts: dict[Kind, tuple[float, int]] = {}
        self._inside: Counter[Run] = Counter()

    def ended(self, run: Run, state_name: str = "") -> bool:
        """Say how a run ended; says whether nobody else need say it."""
        of_session = run.template.executor == SESSION
        if run.state == RunState.COMPLETED and not of_session:
            return False
        if of_session:
            self.say_inside(run)
        elif ended_together(run):
            return True
        crowd = self._crowd(run, run.state)
        if crowd > MOST_ALIKE:
            return True
        text = run_lines.finished(
            run.state, run.reason, state_name, run.message, run.attempt, attempts_of(run)
        )
        # Whoever executes a run himself is told by the answer, others by the outcome, if they listen to that.
        heard = of_session or (run.session is not None and run.session.says_ends)
        self._say(run, run_lines.level_of(run.state), text, heard=heard)
        self._say_not_said(run, crowd)
        return False

    def retried(self, run: Run, attempt: int, why: str, delay: float) -> None:
        """Say that an attempt failed and another one follows."""
        if run.template.executor == SESSION:
            self.say_inside(run)
        crowd = self._crowd(run, _RETRY)
        if crowd <= MOST_ALIKE:
            text = run_lines.failed_attempt(attempt, attempts_of(run), why, delay)
            self._say(run, run_lines.RETRY_LEVEL, text, heard=run.template.executor == SESSION)
            self._say_not_said(run, crowd)

    def repeated(self, run: Run) -> None:
        """Say that an attempt was lost, and is made again."""
        crowd = self._crowd(run, _RETRY)
        if crowd <= MOST_ALIKE:
            text = run_lines.lost_attempt(run.infra_retries, run.template.max_infra_retries, run.message)
            self._say(run, run_lines.RETRY_LEVEL, text)
            self._say_not_said(run, crowd)

    def inside_ended(self, flow: Run, count: int = 1) -> None:
        """Count runs that end with others of their flow run; it is said of all of them, see `say_inside`."""
        self._inside[flow] += count

    def say_inside(self, flow: Run) -> None:
        """Say how many runs have ended with a flow run."""
        count = self._inside.pop(flow, 0)
        if count:
            self._say(flow, run_lines.RETRY_LEVEL, run_lines.ended_together(count))

    def say_left_inside(self) -> None:
        """Say it of all flow runs that have ended before the runs inside them."""
        for flow in [flow for flow in self._inside if flow.ended]:
            self.say_inside(flow)

    def _crowd(self, run: Run, what: int) -> int:
        """Count a line of a kind; returns how many there have been lately: 0 of flow runs, whose lines are
        the last ones of their own logs.
        """
        if run.template.executor == SESSION:
            return 0
        kind = (self._flow_seq_of(run), run.template.template_id, what)
        now = self._clock.monotonic()
        since, count = self._counts.pop(kind, (now, 0))
        if now - since > WHILE_SECONDS:
            since, count = now, 0
        self._counts[kind] = since, count + 1
        if len(self._counts) > _MOST_KINDS:
            del self._counts[next(iter(self._counts))]
        return count + 1

    def _say_not_said(self, run: Run, crowd: int) -> None:
        if crowd == MOST_ALIKE:
            self._say(run, run_lines.RETRY_LEVEL, run_lines.not_said())

    def _say(self, run: Run, level: int, text: str, *, heard: bool = False) -> None:
        """Record a line, and show it; `heard`: not to the run's own session, which says it itself."""
        at_us, logger = self._clock.now_us(), run_lines.logger_of(run.template.kind)
        text = bounded(text, LOG_LIMIT)
        self._journal.logged(run, self._flow_seq_of(run), at_us, level, logger, text)
        session = self._listener(run, heard)
        if session is not None:
            self._journal.tells(session, (run.run_id, at_us, level, logger, text, run.shown_name))

    def _listener(self, run: Run, heard: bool) -> Submitter | None:
        """Return the session to which a line has to be sent: that of the program, perhaps far outside."""
        session = listener_of(run, self._runs)
        return None if heard and session is run.session else session


def ended_together(run: Run) -> bool:
    """Whether a task run ended with others of its flow run, so that one line says it of all of them."""
    if run.state != RunState.CANCELLED or run.template.executor == SESSION or run.flow is None:
        return False
    if run.reason in (StateReason.SESSION_LOST, StateReason.STATE_BY_HAND):
        return run.reason == StateReason.SESSION_LOST
    message = run.message
    of_flow = message.startswith(_THE_FLOW) and message.endswith(_WITH_FLOW)
    return of_flow or message == FLOW_ENDED or message.startswith(TOGETHER)


def with_flow(flow: Run) -> str:
    """Say why a run ends whose flow run has ended, or is being cancelled."""
    return f"{_THE_FLOW}{flow.shown_name}{_WITH_FLOW}"


_THE_FLOW: Final = "the flow run '"
_WITH_FLOW: Final = "' ended or was cancelled"
"""What somebody who cancels a run gives as a reason never stands alone, so it is not mistaken for this."""


def attempts_of(run: Run) -> int:
    """Return how many attempts a run may have."""
    return run.template.max_retries + 1


def open_ones(runs: Iterable[Run]) -> int:
    """Count task runs that have not ended and are not being cancelled, so that they end together."""
    return sum(
        not run.ended and run.state != RunState.CANCELLING and run.template.executor != SESSION
        for run in runs
    )
