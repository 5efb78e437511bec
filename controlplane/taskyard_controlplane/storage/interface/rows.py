"""The rows that are written, one class for each kind, in the words of the owner.

Rows travel as plain tuples in the order of these fields: the classes name the columns, for the declaration in
`tables` and for whoever reads a row back, but the owner's hot loops append bare tuples, because an object per
row costs more than the row (a NamedTuple 0.33 us, a tuple 0.03).
"""

from enum import IntEnum
from typing import NamedTuple


class BlobRefKind(IntEnum):
    """What refers to a blob: mostly something of a run."""

    ARGUMENTS = 1
    RESULT = 2
    """How it ended: what it returned, or what it raised."""
    CACHE_ENTRY = 3
    """What it returned, under its cache key: also when its row is gone."""
    TEMPLATE = 4
    """No run: a template, to its code."""


class BlobState(IntEnum):
    """What becomes of a blob that has a row."""

    KEPT = 0
    RELEASED = 1
    """Nothing may refer to it any more; somebody has to look."""
    DOOMED = 2
    """Nothing refers to it, and if that stays so its bytes go after a while, and then the row."""


class NewRunRow(NamedTuple):
    """Inserted when a run is submitted; never changed afterwards."""

    seq: int
    run_id: bytes
    kind: int
    state: int
    flow_seq: int | None
    caller_id: bytes | None  # the run that made the call
    session_id: bytes | None
    template_id: int
    ordinal: int
    name: str | None
    args: bytes | None
    args_blob: bytes | None  # a serialised Payload without its data: a blob, another encoding, a signature
    cache_key: str | None
    upstream: bytes | None  # per edge: 16 bytes id, 1 byte UpstreamKind
    submitted_us: int
    headers: bytes | None  # a serialised AttemptExtra with nothing else in it


class EndedRow(NamedTuple):
    """Updates a run once, when it ends; `seq` comes last, as the statement wants it."""

    state: int
    reason: int
    attempt: int
    infra_retries: int
    epoch: int
    started_us: int | None
    ended_us: int
    result: bytes | None  # an ordinary inline result in the template's encoding
    outcome: bytes | None  # a serialised RunOutcome, for everything else
    agent_number: int | None  # of the agent that had it last
    seq: int


class KeyRow(NamedTuple):
    """Updates an open run whose worker has computed its cache key; `seq` comes last, as for its end."""

    cache_key: str
    epoch: int  # of the attempt that told the key, and by that has ended
    seq: int


class EndedBadlyRow(NamedTuple):
    """Names a run that ended otherwise than completed; what listings look for is copied from its own row."""

    seq: int


class ReopenedRow(NamedTuple):
    """Updates an ended flow run that is resumed: nothing of its end stays in its row. `seq` comes last."""

    state: int
    reason: int
    attempt: int
    session_id: bytes | None  # the session that makes the attempt
    started_us: int | None
    ended_us: int | None
    result: bytes | None
    outcome: bytes | None
    seq: int


class NoBadEndRow(NamedTuple):
    """Takes back an `EndedBadlyRow` of a run that is resumed; how it had ended is part of the key."""

    state: int
    kind: int
    seq: int


class EventRow(NamedTuple):
    """Appended for every exception to the happy path: retries, lost leases, cancellations."""

    run_seq: int
    at_us: int
    state: int
    reason: int
    attempt: int
    infra_retries: int
    epoch: int
    due_us: int | None
    state_name: str | None
    message: str | None


class DispatchRow(NamedTuple):
    """One batch of assignments; read back only by recovery."""

    number: int
    agent_id: str
    session_id: bytes
    at_us: int
    entries: bytes  # per run: 8 bytes seq, 8 bytes epoch, little endian


class AgentRow(NamedTuple):
    """The name of an agent that got runs, under a number that is new for each of its processes, and for each
    owner: ended runs name that.
    """

    number: int
    agent_id: str
    name: str
    at_us: int  # when it got the first


class BacklogRow(NamedTuple):
    """A queued run beyond the memory window."""

    queue: str
    """Its lane: the queue and what else the run needs of an agent. Only the queue if 0.1.0 wrote the row.
    Empty for a run that waits for others."""
    priority: int
    seq: int


class TakenRow(NamedTuple):
    """A run that was in the backlog and is in memory from now on."""

    seq: int


class CacheRow(NamedTuple):
    """The newest result under a cache key."""

    cache_key: str
    run_seq: int
    expires_us: int | None


class BlobRow(NamedTuple):
    """A blob that something in the same batch refers to; its bytes are in the blob store."""

    name: str
    size: int
    checksum: int  # signed
    created_us: int


class BlobRefRow(NamedTuple):
    """Something refers to a blob, which stays in the store for as long as anything does."""

    kind: int  # a `BlobRefKind`
    holder: int  # the seq of a run, or the number of a template
    name: str
    cache_key: str | None  # of a cache entry, which the run of this seq has filled


class LogRow(NamedTuple):
    """A record in the log of a run; the row names its flow run too, because people list logs by that.

    What the control plane says itself is written by commits, what runs say by a `LogStore`.
    """

    run_seq: int
    flow_seq: int | None
    at_us: int
    level: int
    logger: str
    message: str
    log_id: int  # when it came, in microseconds, and greater than that of every record before


LogTuple = tuple[int, int | None, int, int, str, str, int]
"""A `LogRow` as it travels."""


class LogMarkRow(NamedTuple):
    """Up to which number the log records that a session sent are stored."""

    session_id: bytes
    number: int
    at_us: int


class OldLogMarksRow(NamedTuple):
    """Marks of sessions that have not logged since are forgotten."""

    at_us: int


class TemplateRow(NamedTuple):
    """A template, kept once per content."""

    template_id: int
    digest: bytes
    definition: bytes  # a serialised RunTemplate
    name: str  # a copy out of the definition, because listings search by it
