"""Single flight per cache key: one run leads, equal ones wait for it without a slot.

The database holds finished results; this holds who computes one right now. Invariant: at most one run per key
is beyond AWAITING_CACHE.
"""

from collections.abc import Callable

from taskyard_api.v1 import common_pb2, session_service_pb2
from taskyard_contract.blobs.names import name_of
from taskyard_contract.states import RunState
from taskyard_controlplane.domain.events import RunEvent
from taskyard_controlplane.domain.model import Run
from taskyard_controlplane.owner.journal.journal import Journal
from taskyard_controlplane.owner.journal.templates import Templates
from taskyard_controlplane.owner.leaving_blobs import LeavingBlobs
from taskyard_controlplane.owner.metrics import Metrics
from taskyard_controlplane.owner.named_blobs import blobs_of_outcome
from taskyard_controlplane.owner.rules.outcome_messages import Hit
from taskyard_controlplane.owner.rules.settling import Settling
from taskyard_controlplane.storage.interface import CachedResult

LookAtValue = Callable[[common_pb2.BlobRef, Callable[[bool], None]], None]
"""Finds out whether a large value can still be read, and tells that to somebody."""


def taken_as_there(ref: common_pb2.BlobRef, tell: Callable[[bool], None]) -> None:
    """Believe that a value is where it was stored."""
    tell(True)


class CacheFlights:
    """The cache keys under way."""

    def __init__(
        self,
        settling: Settling,
        journal: Journal,
        templates: Templates,
        metrics: Metrics,
        leaving: LeavingBlobs,
    ) -> None:
        """Decide keys by what the database has; hits and misses are counted in `metrics`."""
        self._leaving = leaving
        self._settling = settling
        self._journal = journal
        self._templates = templates
        self._metrics = metrics
        self._flights: dict[str, list[Run]] = {}  # the leader comes first
        self.look_at: LookAtValue = taken_as_there
        """Asked before a large value is taken from the cache."""

    @property
    def under_way(self) -> int:
        """How many keys have a leader, or are looked up for one."""
        return len(self._flights)

    def flight(self, key: str) -> list[Run]:
        """Return who wants a key, the leader first."""
        return list(self._flights.get(key, ()))

    def enter(self, run: Run) -> None:
        """Let a run in AWAITING_CACHE wait for the fate of its key."""
        key = run.cache_key
        assert key is not None
        flight = self._flights.get(key)
        if flight is not None:
            self._settling.hurry(flight[0], run.waited_for_by)
            flight.append(run)
        else:
            self._flights[key] = [run]
            self._journal.look_up_key(key)

    def looked_up(self, asked: list[str], found: list[CachedResult]) -> None:
        """Take the answer of the database: a hit ends every run of the flight, a miss starts its leader."""
        stored = {row.cache_key: row for row in found}
        for key in asked:
            row = stored.get(key)
            if row is None or self._is_leaving(row):
                self._metrics.cache_misses += 1
                self._lead(key)
            else:
                self._found(key, (row.run_id, row.result, row.outcome, self._templates.encoding_of(row)))

    def _found(self, key: str, hit: Hit) -> None:
        """Land the flight with what the database has, if the value is there: else it is made anew."""
        blob = _blob_of(hit)
        if blob is None:
            self._land(self._flights.pop(key, []), hit)
        else:
            self.look_at(blob, lambda there: self._looked_at(key, hit, there, name_of(blob)))

    def _looked_at(self, key: str, hit: Hit, there: bool, name: str) -> None:
        if there and not self._leaving.is_going([name]):
            self._land(self._flights.pop(key, []), hit)
            return
        flight = self._flights.get(key)
        if flight and flight[0].state == RunState.AWAITING_CACHE:  # nobody leads since it was looked up
            self._metrics.cache_misses += 1
            self._lead(key)

    def _is_leaving(self, row: CachedResult) -> bool:
        """Whether what a stored result names is being removed: that is as good as none."""
        return row.outcome is not None and self._leaving.is_going(map(name_of, blobs_of_outcome(row.outcome)))

    def ended(self, run: Run) -> None:
        """Note that a run with a key has ended: a result lands the flight, all else promotes the next."""
        key = run.cache_key
        flight = self._flights.get(key) if key is not None else None
        if key is None or flight is None or run not in flight:
            return
        was_leader = flight[0] is run
        flight.remove(run)
        if run.state == RunState.COMPLETED and was_leader:
            self._land_those_in_time(key, flight, run)
        elif not flight:
            del self._flights[key]
        elif was_leader:
            # It may have computed its key anew, or another owner may have recorded a result beside it.
            self._settling.hurry(flight[0], run.waited_for_by)
            self._journal.look_up_key(key)

    def refused(self, run: Run) -> None:
        """Forget a run that was not recorded; the look-up that came with it decides for those behind it."""
        flight = self._flights.get(run.cache_key) if run.cache_key is not None else None
        if flight is None or run not in flight:
            return
        was_leader = flight[0] is run
        flight.remove(run)
        if not flight and run.cache_key is not None:
            del self._flights[run.cache_key]
        elif was_leader:
            self._settling.hurry(flight[0], run.waited_for_by)

    def leads(self, run: Run) -> None:
        """Note, during recovery, that a run computes its key."""
        if run.cache_key is not None:
            self._flights.setdefault(run.cache_key, []).insert(0, run)

    def _follow(self, key: str, former: Run) -> None:
        """Let the next run lead, which is waited for by whoever waited for the former leader."""
        if flight := self._flights.get(key):
            self._settling.hurry(flight[0], former.waited_for_by)
        self._lead(key)

    def _lead(self, key: str) -> None:
        flight = self._flights.get(key)
        if not flight:
            self._flights.pop(key, None)
            return
        leader = flight[0]
        leader.cache_decided = True
        self._settling.apply(leader, RunEvent.CACHE_LEADS)

    def _land_those_in_time(self, key: str, flight: list[Run], leader: Run) -> None:
        """End the runs behind a leader; those that came when its result had expired go on without it.

        It may be told of long after it was there: its agent keeps it while there is no server.
        """
        late: list[Run] = []
        lifetime = leader.template.cache_expiration_us
        if lifetime:
            expired_us = (leader.ended_us or 0) + lifetime
            late = [run for run in flight if run.submitted_us >= expired_us]
            flight = [run for run in flight if run.submitted_us < expired_us]
        self._flights[key] = late
        self._follow(key, leader)
        hit = (leader.run_id, leader.result, leader.outcome, leader.template.result_encoding)
        self._land(flight, hit)

    def _land(self, flight: list[Run], hit: Hit) -> None:
        for run in flight:
            if run.state == RunState.AWAITING_CACHE:
                self._metrics.cache_hits += 1
                self._settling.take_from_cache(run, hit)


def _blob_of(hit: Hit) -> common_pb2.BlobRef | None:
    """Return where the value of a hit is, if it is large."""
    outcome = hit[2]
    if outcome is None:
        return None
    blob = session_service_pb2.RunOutcome.FromString(outcome).result.blob
    return blob if blob.name else None
