"""What must be true of every history. Pure: events in, violations out.

Each rule is a function over the whole history, so that a simulated play and a real run, put together from
logs and SQL, are judged by the same lines. A rule for whose events a history has no source finds nothing.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from simulation.history import Event, History, Spec

COMPLETED, FAILED, CANCELLED, CRASHED = 10, 11, 12, 13
FIRST_FINAL: Final = 10
CANCELLING: Final = 7
AWAITING_RETRY: Final = 5
BY_INFRASTRUCTURE: Final = (3, 4)
"""Reasons: the worker died, the agent was lost."""
CODE_UNAVAILABLE: Final = 8
SESSION_LOST, CANCEL_REQUESTED = 6, 7
TRY_AGAIN: Final = (3, 6)
"""Reasons of refusals: asked for before it was submitted; the server is overloaded."""
TRIES: Final = 40
"""Commits that fail within a second, at most: the pauses between them leave room for a third of it."""


class Violation(NamedTuple):
    """A rule, and what broke it."""

    rule: str
    text: str


class Index:
    """A history by run and kind."""

    def __init__(self, history: Iterable[Event]) -> None:
        self.events = list(history)
        self.by_kind: dict[str, list[Event]] = {}
        self.by_run: dict[tuple[str, str], list[Event]] = {}
        for event in self.events:
            self.by_kind.setdefault(event.kind, []).append(event)
            if event.run:
                self.by_run.setdefault((event.kind, event.run), []).append(event)
        self.specs: dict[str, Spec] = {event.run: event.value for event in self.kind("submitted")}

    def kind(self, *kinds: str) -> list[Event]:
        return [event for kind in kinds for event in self.by_kind.get(kind, ())]

    def run(self, kind: str, run: str) -> list[Event]:
        return self.by_run.get((kind, run), [])


Rule = Callable[[Index], Iterator[str]]
RULES: Final[dict[str, Rule]] = {}


def rule(function: Rule) -> Rule:
    """Register a rule under its name."""
    RULES[function.__name__.strip("_").replace("_", "-")] = function
    return function


def violations(history: Iterable[Event]) -> list[Violation]:
    """Return everything that is wrong with a history."""
    index = Index(history)
    return [Violation(name, text) for name, check in RULES.items() for text in check(index)]


def check(history: History) -> list[Violation]:
    """Return everything that is wrong with a history."""
    return violations(history)


# Ends.


@rule
def acknowledged_runs_are_recorded(index: Index) -> Iterator[str]:
    """What was acknowledged is in the database."""
    recorded = {event.run for event in index.kind("inserted", "final")}
    for event in index.kind("acknowledged"):
        if event.run not in recorded:
            yield f"run {event.run} was acknowledged to {event.who} and is not recorded"


@rule
def one_end(index: Index) -> Iterator[str]:
    """A run ends once."""
    for (kind, run), events in index.by_run.items():
        if kind == "recorded" and len(events) > 1:
            yield f"run {run} ended {len(events)} times: {[event.value[0] for event in events]}"


@rule
def told_is_recorded(index: Index) -> Iterator[str]:
    """What a client is told is what the database says, to the byte."""
    final = {event.run: event.value for event in index.kind("final")}
    for event in index.kind("told"):
        state, result = event.value
        known = final.get(event.run)
        if (
            known is None
            or known[0] != state
            or (state == COMPLETED and result is not None and known[1] != result)
        ):
            yield f"run {event.run}: {event.who} was told {event.value}, recorded is {known}"


@rule
def refused_is_not_recorded(index: Index) -> Iterator[str]:
    """A run that was refused is not there: it was before, or its client was asked to try again."""
    acknowledged = {event.run for event in index.kind("acknowledged")}
    final = {event.run for event in index.kind("final")}
    for event in index.kind("refused"):
        if event.run in final and event.run not in acknowledged and event.value[0] not in TRY_AGAIN:
            yield f"run {event.run} was refused ({event.value[1]}) and is recorded"


@rule
def completed_was_executed(index: Index) -> Iterator[str]:
    """A task that completed was executed, under the epoch that is recorded."""
    if not index.kind("given"):
        return
    for event in index.kind("recorded"):
        spec = index.specs.get(event.run)
        if event.value[0] != COMPLETED or spec is None or spec.is_flow or event.value[1] == 1:
            continue
        succeeded = {each.epoch for each in index.run("ended", event.run) if each.value == "succeeded"}
        if event.epoch not in succeeded:
            yield f"run {event.run} completed under epoch {event.epoch:x}, which nobody executed"


@rule
def order(index: Index) -> Iterator[str]:
    """A run begins after its upstream runs have ended, with what they returned."""
    for event in index.kind("given"):
        spec = index.specs.get(event.run)
        for upstream in spec.upstream if spec is not None else ():
            ends = index.run("recorded", upstream)
            if not ends or ends[0].at > event.at:
                yield f"run {event.run} began before its upstream run {upstream} had ended"
            elif ends[0].value[0] == COMPLETED and event.value[1].get(upstream) != ends[0].value[4]:
                yield f"run {event.run} was given something else than what {upstream} returned"


# Epochs.


@rule
def one_execution_per_epoch(index: Index) -> Iterator[str]:
    """Nothing is given to a process twice under one epoch, unless a worker died with it unfinished."""
    died: dict[tuple[str, int], int] = {}
    for event in index.kind("given"):
        key = event.run, event.epoch
        died[key] = died.get(key, 0) + 1
    for (run, epoch), count in died.items():
        ended = [event for event in index.run("ended", run) if event.epoch == epoch]
        sessions = {event.value[2] for event in index.run("given", run) if event.epoch == epoch}
        if count > 1 and len(sessions) > 1:
            yield f"run {run} was given to {len(sessions)} agents under epoch {epoch:x}"
        elif count > 1 and len(ended) > 1 and not _worker_died(index, run, epoch):
            yield f"run {run} was executed {len(ended)} times under epoch {epoch:x}"


def _worker_died(index: Index, run: str, epoch: int) -> bool:
    """Whether different workers had it: what one has finished and not yet sent dies with it."""
    return len({event.who for event in index.run("given", run) if event.epoch == epoch}) > 1


@rule
def epochs_increase(index: Index) -> Iterator[str]:
    """Each assignment of a run that is recorded has a higher epoch than the one before."""
    last: dict[str, int] = {}
    for event in index.kind("dispatched"):
        if event.run and event.epoch < last.get(event.run, 0):
            yield f"run {event.run} was assigned under {event.epoch:x} after {last[event.run]:x}"
        if event.run:
            last[event.run] = event.epoch


@rule
def nothing_from_superseded_epochs(index: Index) -> Iterator[str]:
    """No end is accepted from an assignment after which the run was assigned anew."""
    for event in index.kind("recorded"):
        if event.value[0] not in (COMPLETED, FAILED):
            continue
        later = [
            each
            for each in index.run("dispatched", event.run)
            if each.epoch > event.epoch and each.at < event.at
        ]
        if later:
            yield f"run {event.run} ended under {event.epoch:x} although {later[0].epoch:x} had been assigned"


# Attempts.


@rule
def infra_retries_were_given(index: Index) -> Iterator[str]:
    """An attempt counts as lost only if a process was given it, or its agent cannot be asked any more."""
    if not index.kind("given"):
        return
    dead = {event.who: event.at for event in index.kind("died")}
    before: dict[str, int] = {}
    for event in sorted(index.kind("event", "recorded"), key=lambda each: each.at):
        state, reason, _, infra = event.value[:4]
        if reason not in BY_INFRASTRUCTURE:
            continue
        counted = infra > before.get(event.run, 0) or state == CRASHED
        before[event.run] = infra
        if counted and not _given(index, event, dead):
            yield f"run {event.run} lost its attempt under epoch {event.epoch:x}, which no process was given"


def _given(index: Index, event: Event, dead: dict[str, float]) -> bool:
    if any(each.epoch == event.epoch and each.at <= event.at for each in index.run("given", event.run)):
        return True
    agents = [each.who for each in index.run("dispatched", event.run) if each.epoch == event.epoch]
    return any(dead.get(agent, event.at + 1) <= event.at for agent in agents)


@rule
def failures_count_once(index: Index) -> Iterator[str]:
    """A task fails for good only after as many failed executions as it may have."""
    if not index.kind("given"):
        return
    for event in index.kind("recorded"):
        spec = index.specs.get(event.run)
        if spec is None or event.value[0] != FAILED or spec.is_flow:
            continue
        failed = {each.epoch for each in index.run("ended", event.run) if each.value == "failed"}
        if event.value[1] == 0 and len(failed) < min(spec.max_retries + 1, max(spec.failures, 1)):
            yield f"run {event.run} failed for good after {len(failed)} failures of {spec.max_retries + 1}"
        elif event.value[1] == 0 and spec.failures <= spec.max_retries:
            yield f"run {event.run} failed for good, and its attempt {spec.failures + 1} would have succeeded"


@rule
def code_is_there(index: Index) -> Iterator[str]:
    """Whoever is given a run gets its code."""
    for event in index.kind("recorded"):
        if event.value[1] == CODE_UNAVAILABLE:
            yield f"run {event.run} failed because its code was not there"


@rule
def crashed_after_enough(index: Index) -> Iterator[str]:
    """The infrastructure ends a run only after as many executions as it may lose."""
    if not index.kind("given"):
        return
    dead = {event.who for event in index.kind("died")}
    for event in index.kind("recorded"):
        spec = index.specs.get(event.run)
        if (
            spec is None
            or spec.is_flow
            or event.value[0] != CRASHED
            or event.value[1] not in BY_INFRASTRUCTURE
        ):
            continue
        epochs = {each.epoch for each in index.run("given", event.run)}
        epochs |= {each.epoch for each in index.run("dispatched", event.run) if each.who in dead}
        if len(epochs) < spec.max_infra_retries + 1:
            yield f"run {event.run} crashed after {len(epochs)} executions of {spec.max_infra_retries + 1}"


# Cancellation.


@rule
def cancelled_stays_cancelled(index: Index) -> Iterator[str]:
    """A run whose cancellation was acknowledged while it was open does not complete later."""
    for event in index.kind("cancel_acknowledged"):
        for end in index.run("recorded", event.run):
            if event.value < FIRST_FINAL and end.at > event.at and end.value[0] != CANCELLED:
                yield f"run {event.run} ended as {end.value[0]} after its cancellation was acknowledged"


@rule
def cancelled_by_somebody(index: Index) -> Iterator[str]:
    """A run is cancelled only if somebody asked for it, its flow ended, or its client was gone."""
    gone = {event.who for event in index.kind("died", "away", "peer_ended")}
    for event in index.kind("recorded"):
        spec = index.specs.get(event.run)
        if event.value[0] != CANCELLED or spec is None or spec.client in gone:
            continue
        if index.run("cancel_requested", event.run) or (spec.flow and index.run("recorded", spec.flow)):
            continue
        yield f"run {event.run} was cancelled (reason {event.value[1]}) and nobody had asked for it"


# Peers.


@rule
def peers_go_on(index: Index) -> Iterator[str]:
    """No session and no agent is ended by an error, unless another process has taken its place."""
    for event in index.kind("peer_ended"):
        error, replaced = event.value
        if not replaced:
            yield f"{event.who} was ended by {error}"


@rule
def credit_holds(index: Index) -> Iterator[str]:
    """No agent is sent more than it has asked for."""
    for event in index.kind("overdrawn"):
        yield f"{event.who} was sent {event.value[0]} runs and had asked for {event.value[1]}"


@rule
def ghost(index: Index) -> Iterator[str]:
    """What an owner takes for held is held."""
    for event in index.kind("ghost"):
        yield f"run {event.run} under {event.epoch:x} is held by nobody, and its owner does not know"


@rule
def stray(index: Index) -> Iterator[str]:
    """What is held is known to be held."""
    for event in index.kind("stray"):
        yield f"run {event.run} under {event.epoch:x} is held by an agent, and its owner does not know"


@rule
def starved(index: Index) -> Iterator[str]:
    """What is ready goes to whoever has credit."""
    for event in index.kind("starved"):
        yield f"run {event.run} was ready while an agent had credit, for {event.at - event.value:.0f} s"


# Processes.


@rule
def spin(index: Index) -> Iterator[str]:
    """Nothing goes round without waiting."""
    for event in index.kind("spin"):
        yield f"{event.who} went round at {event.at:.3f} without time passing"
    failed = [event.at for event in index.kind("commit_failed")]
    for first, last in zip(failed, failed[TRIES:], strict=False):
        if last - first < 1.0:
            yield f"{TRIES} commits were tried within {last - first:.3f} s at {first:.3f} and refused"
            return


@rule
def unhandled(index: Index) -> Iterator[str]:
    """Nothing is raised that nobody deals with."""
    for event in index.kind("unhandled"):
        yield f"{event.value}"


@rule
def fatal(index: Index) -> Iterator[str]:
    """No owner gives up."""
    for event in index.kind("fatal"):
        yield f"{event.who}: {event.value}"


@rule
def liveness(index: Index) -> Iterator[str]:
    """Everything ends once the world is whole."""
    for event in index.kind("open"):
        yield f"run {event.run} is still {event.value} under {event.epoch:x}"
    for event in index.kind("waiting"):
        yield f"{event.who} still waits for run {event.run}"
