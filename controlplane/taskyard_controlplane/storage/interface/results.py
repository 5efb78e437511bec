"""What the database answers: records of runs, and what came of a commit or of an opening."""

from typing import NamedTuple

from taskyard_controlplane.domain.memory import Kept


class StoredRun(NamedTuple):
    """The row of a run, open or ended: what recovery, look-ups and listings read."""

    seq: int
    run_id: bytes
    kind: int
    state: int
    reason: int
    flow_seq: int | None
    caller_id: bytes | None
    session_id: bytes | None
    template_id: int
    ordinal: int
    name: str | None
    args: bytes | None
    args_blob: bytes | None
    cache_key: str | None
    upstream: bytes | None
    submitted_us: int
    headers: bytes | None
    attempt: int
    infra_retries: int
    epoch: int
    started_us: int | None
    ended_us: int | None
    result: bytes | None
    outcome: bytes | None
    agent_number: int | None = None


class RunHead(NamedTuple):
    """What the owner reads of a run to make its record, or to tell others how it ended.

    Of arguments and outcomes that are larger than what a record always keeps, only the size is read.
    """

    seq: int
    run_id: bytes
    kind: int
    state: int
    flow_seq: int | None
    caller_id: bytes | None
    session_id: bytes | None
    template_id: int
    ordinal: int
    name: str | None
    args_blob: bytes | None
    cache_key: str | None
    upstream: bytes | None
    submitted_us: int
    headers: bytes | None
    attempt: int
    epoch: int
    args: Kept
    result: Kept
    outcome: Kept


ParkedRow = tuple[int, int, bytes, bytes | None]
"""Of a run that waits for others in the backlog: seq, template, edges, session. There may be a million."""


class RunEnd(NamedTuple):
    """How a run ended, or that it is open, for those that wait for it; of what is large only the size."""

    run_id: bytes
    state: int
    result: Kept
    outcome: Kept


class StoredPayloads(NamedTuple):
    """Payloads that were read back."""

    args: dict[int, bytes]  # by seq
    outcomes: dict[bytes, tuple[bytes | None, bytes | None]]  # result and outcome, by id


class BacklogPage(NamedTuple):
    """What was found open in the next part of the backlog, in the order of the seqs."""

    rows: list[RunHead]
    looked_at: int
    """Among how many they were found; fewer than asked for at the end of what was looked through."""
    last_seq: int
    """Of the last one that was looked at: where the next page begins."""


class CachedResult(NamedTuple):
    """A usable result under a cache key."""

    cache_key: str
    run_seq: int
    run_id: bytes
    template_id: int
    result: bytes | None
    outcome: bytes | None
    definition: bytes | None  # of its template, which says how the result is encoded


class CommitResult(NamedTuple):
    """What a commit found out on its way: answers to its look-ups, and ids that were there before."""

    runs: list[RunEnd]  # for `lookup_runs`, those that exist
    cached: list[CachedResult]  # for `lookup_keys`, those usable at `now_us`
    duplicates: list[bytes]  # ids among `new_runs` that existed before; those rows were not written


class Ownership(NamedTuple):
    """What `Store.open` acquired: the right to write, and where numbers go on."""

    generation: int  # greater than any before
    next_seq: int  # the first free run seq
    next_template_id: int
    low_seq: int  # no open run has a lower seq
    next_dispatch: int
    next_agent: int
    next_log: int = 1


class ListedRun(NamedTuple):
    """A run for people: the record with its template's definition, its flow run's id, and who had it last."""

    run: StoredRun
    definition: bytes
    flow_run_id: bytes | None
    agent_id: str | None = None
    agent_name: str | None = None


class CalledRun(NamedTuple):
    """What tells a call of a flow run's body from others, and what became of it."""

    seq: int
    run_id: bytes
    state: int
    ordinal: int
    args: bytes | None
    args_blob: bytes | None
    upstream: bytes | None
    definition: bytes


class RunPage(NamedTuple):
    """Runs that fit a filter, and how far they were looked for."""

    runs: list[ListedRun]
    next_seq: int | None
    """Where to go on, as `beyond_seq`; None when there are no more."""
    looked_at: int
    """How many runs that took, by what it costs to look at one of many in a row."""
    reached_us: int
    """When the last run that was looked at was submitted; 0 when there are no more."""


class EndedCounts(NamedTuple):
    """How many ended runs fit a filter, and how far back they were counted."""

    counts: dict[int, int]  # by state
    reached_us: int
    """When the oldest run that was looked at was submitted; 0 when all were."""


class OpenRun(NamedTuple):
    """A run that has not ended, as far as the database knows."""

    run_id: bytes
    state: int  # in which it was recorded


class OpenRuns(NamedTuple):
    """Some open runs, newest first."""

    runs: list[OpenRun]
    next_seq: int | None
    """Where to go on, None when there are no more."""
    looked_at: int
    reached_us: int
    """When the last run that was looked at was submitted; 0 when there are no more."""


class SummedRuns(NamedTuple):
    """Runs inside a flow run that have everything in common that is told of them."""

    kind: int
    task_name: str
    state: int  # of those that have not ended, the recorded one
    caller_task_name: str | None
    """Of the task whose runs have called them; None when the flow run has, or nobody asked."""
    first_digits: str | None
    """Of the microseconds they took; None for those of which that is not known."""
    digits: int | None
    """How many digits these have in all."""
    runs: int
    first_submitted_us: int
    first_started_us: int | None
    last_ended_us: int | None


class RunSums(NamedTuple):
    """Some of the runs inside a flow run, summed up."""

    runs: list[SummedRuns]
    next_seq: int | None
    """Where to go on; None when there are no more."""
    last_seq: int
    """Of the runs that were looked at."""


class StoredLog(NamedTuple):
    """A log record with the run that wrote it."""

    log_id: int
    run_id: bytes
    at_us: int
    level: int
    logger: str
    message: str
    run_name: str
