"""How runs in workers end without a report: by cancellation, timeout, drop, or because their worker died.

A run that has started can be ended only with its process, so its worker goes too, on account of this one run
(`kill`): TERM to the process group, a grace, KILL (`terminating`). A run that a worker has but has not
started is marked as unwanted and asked back; should it start before the answer comes, the watchdog sees an
unwanted run executing and ends it then.

When the exit of a worker is confirmed, what it had is settled, span by span:

1. It was ended on account of a run: that run is cancelled, dropped or lost, as the account says. If it had
   ended by itself when the signals came, the run is lost, too, that they met.
2. It died by itself, or was ended because the lease lapsed, and the progress board names a run: that run is
   lost.
3. It died by itself between two runs: nobody's fault, unless it happens again and again (`MAX_STRIKES`), as
   with code that kills each worker that loads it; then the first run of its first span is lost, and the next,
   and so on, so that the rest of the queue gets through. What it was given when it was gone is not counted.

Everything else that it had has not started: it is queued again, or given back. Invariant: a run that had
started counts as ended only when the exit of its process is confirmed; those of a worker that has ended that
had not started execute elsewhere, and no others.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from taskyard_agent.holding.chunks import Span
from taskyard_agent.holding.holdings import Holdings
from taskyard_agent.processes import lane_endings
from taskyard_agent.processes.lane_handle import LaneHandle
from taskyard_agent.processes.terminating import Ending, Why, describe_exit
from taskyard_agent.processes.worker_handle import WorkerHandle
from taskyard_agent.processes.workforce import Workforce
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract.execution import expired_silent, expired_timeout
from taskyard_contract.states import StateReason

MAX_STRIKES: Final = 3
"""Deaths between runs before a run is blamed: one may be the machine's doing, a second one bad luck."""


class Endings:
    """Ends runs that have been given to workers."""

    def __init__(self, holdings: Holdings, workforce: Workforce) -> None:
        """End runs of `holdings` in workers of `workforce`."""
        self._holdings = holdings
        self._workforce = workforce
        self._loop = asyncio.get_running_loop()
        self.suspect: Callable[[Span], None] = lambda span: None
        """Takes runs whose process died with several of them in it."""

    def end(self, worker: WorkerHandle, number: int, position: int, confirm: bool) -> None:
        """End a run: with its process when it is executing, without when it has not started.

        Args:
            worker: The worker that has it.
            number: The span it is in.
            position: Its position.
            confirm: Whether to report its end as a cancellation.
        """
        if isinstance(worker, LaneHandle):
            by = self._loop.time() + (Why.CANCELLED if confirm else Why.DROPPED).grace
            worker.stopping.setdefault((number, position), (by, confirm))
            worker.cancel(number, position)
            return
        span = worker.spans[number]
        executing = worker.executing()
        if executing is not None and executing[0] == number and executing[2].position == position:
            if worker.ending is not None and not confirm:
                span.unwanted[position] = False  # it ends as it is, but in silence
                return
            span.unwanted.pop(position, None)
            self.kill(worker, Why.CANCELLED if confirm else Why.DROPPED, span.key(position))
        else:
            span.unwanted[position] = confirm
            worker.revoke(number)

    def abandon(self, worker: WorkerHandle) -> None:
        """End a worker that has runs, because others may be starting these."""
        first = next(iter(worker.spans.values()))
        self.kill(worker, Why.LEASE_LOST, first.key(first.start))

    def kill(self, worker: WorkerHandle, why: Why, key: pb.RunKey) -> None:
        """End a worker on account of a run; one that is being ended already keeps its account."""
        if worker.ending is None:
            worker.end(Ending(why, key))
            self._workforce.fit()  # it is replaced before it is gone: graces are long
        elif not why.grace:
            worker.ending.hasten(worker.pid)  # its account stays, the grace that came with it does not

    def settle(self, worker: WorkerHandle, status: int | None) -> list[Span]:
        """End the run on whose account a worker ended; returns what is left for another one."""
        if isinstance(worker, LaneHandle):
            return self._settle_lane(worker, status)
        executing, ending = worker.executing(), worker.ending
        if ending is not None:
            ending.done()
        given = next(iter(worker.spans), 0) not in worker.undelivered
        rest: list[Span] = []
        for index, span in enumerate(worker.surrender()):
            parts = [span]
            if ending is not None and ending.why is not Why.LEASE_LOST:
                parts = self._on_account(span, ending)
                if executing is not None and executing[1] is span:
                    parts = self._blame_next(parts, executing[2].position)
            elif executing is not None and executing[1] is span:
                parts = self._blame(span, executing[2].position, *_cause(ending, status))
            elif executing is None and ending is None and index == 0 and given:
                parts = self._strike(span, status)
            for part in parts:
                rest += self._holdings.sift(part)
        return rest

    def _settle_lane(self, lane: LaneHandle, status: int | None) -> list[Span]:
        blameless = any(one.begun for _, one in lane.live()) or lane.ending is not None
        given = next(iter(lane.spans), 0) not in lane.undelivered
        rest = lane_endings.settle(self._holdings, lane, status, self.suspect)
        lane.gone(lane)
        if blameless or not (rest and given):
            return rest
        return [*self._strike(rest[0], status), *rest[1:]]  # it died while it loaded code, for example

    def _on_account(self, span: Span, ending: Ending) -> list[Span]:
        position = span.find(ending.key)
        if position is None or position in span.unwanted:
            return [span]
        if ending.why is Why.TIMED_OUT:
            message = expired_timeout(span.chunk.template.timeout)
            self._holdings.lose(span.one(position), StateReason.TIMED_OUT, message)
            return span.without(position)
        if ending.why is Why.SILENT:
            message = expired_silent(span.chunk.template.heartbeat_timeout)
            self._holdings.lose(span.one(position), StateReason.TIMED_OUT, message)
            return span.without(position)
        if ending.why is Why.WAITING_REFUSED:
            self._holdings.lose(span.one(position), StateReason.WAITING_REFUSED, self._waiting_refused())
            return span.without(position)
        if ending.why is Why.STOPPED:
            message = "the agent stopped before the run had ended"
            self._holdings.lose(span.one(position), StateReason.WORKER_DIED, message)
            return span.without(position)
        span.unwanted[position] = ending.why is Why.CANCELLED
        return [span]

    def _waiting_refused(self) -> str:
        return (
            "the run had to wait for runs it had submitted, but each run that waits keeps a process, and its"
            f" agent lets at most {self._workforce.most_waiting} runs wait; nest calls less deeply, or start"
            " the agent with a larger --max-waiting"
        )

    def _strike(self, span: Span, status: int | None) -> list[Span]:
        span.strikes += 1
        if span.strikes < MAX_STRIKES:
            return [span]
        return self._blame(span, span.start, *_cause(None, status))

    def _blame_next(self, parts: list[Span], executing: int) -> list[Span]:
        """End the run that signals met which were for one that had ended when they came."""
        rest: list[Span] = []
        for part in parts:
            if part.start <= executing < part.stop:
                message = "its process was ended on account of the run before it, which ended at that moment"
                rest += self._blame(part, executing, StateReason.WORKER_DIED, message)
            else:
                rest.append(part)
        return rest

    def _blame(self, span: Span, culprit: int, reason: StateReason, message: str) -> list[Span]:
        if culprit in span.unwanted:
            return [span]
        self._holdings.lose(span.one(culprit), reason, message)
        return span.without(culprit)


def _cause(ending: Ending | None, status: int | None) -> tuple[StateReason, str]:
    """Say why a run is lost whose worker ended while it executed: with the lease, or by itself."""
    if ending is not None:
        return StateReason.AGENT_LOST, "the agent lost its lease, and ended what it executed"
    return StateReason.WORKER_DIED, describe_exit(status)
