"""One transaction: what it writes, and what it promises to others once it is durable."""

from collections.abc import Callable, Sequence
from enum import Enum, auto
from operator import itemgetter
from typing import Final, Protocol

from taskyard_api.v1.session_service_pb2 import FlowDecision
from taskyard_contract.errors import StorageFull, TaskyardError
from taskyard_controlplane.domain.model import Run, Submitter
from taskyard_controlplane.owner.journal.log_records import Record
from taskyard_controlplane.owner.peers.agent_session import AgentSession
from taskyard_controlplane.owner.peers.client_session import ClientSession
from taskyard_controlplane.storage.interface import CommitResult, NewRunRow, RefusedRow, WriteBatch

_seq_of: Final = itemgetter(NewRunRow._fields.index("seq"))
SMALL_ROWS: Final = 12
"""A commit of so few rows is shorter than two thread switches, and the loop has nothing else to do."""
SMALL_BYTES: Final = 64 * 1024
"""The same of payload."""


class Phase(Enum):
    """What the committer is doing."""

    IDLE = auto()
    SCHEDULED = auto()
    """The event loop will start what there is to do in its next round."""
    WRITING = auto()
    """A commit is under way."""
    TROUBLED = auto()
    """A commit failed, and is tried again after a while; nothing else uses the store until then."""
    WORKING = auto()
    """A job uses the store."""
    OVER = auto()
    """Nothing is started any more. What was under way may still end."""


class Commit:
    """Rows and promises, gathered until the database is free."""

    __slots__ = (
        "accepted", "decided", "duplicates", "effects", "lines", "log_batch", "logged", "overdue",
        "payload_bytes", "refused", "reported", "rows", "set_aside", "submitted", "then", "unowned",
        "unstorable",
    )  # fmt: skip

    def __init__(self, number: int) -> None:
        """Gather for the transaction with this number."""
        self.rows = WriteBatch(number)
        self.submitted: list[Run] = []
        """Runs that go on from where they were submitted, or found after a restart."""
        self.unowned: dict[bytes, ClientSession] = {}
        """Who has sent new runs that belong to nobody."""
        self.accepted: dict[ClientSession, tuple[int, int]] = {}
        """Up to which batch each client is told that its submissions are durable, and on which of its streams
        that batch came."""
        self.reported: dict[AgentSession, int] = {}
        """Up to which number each agent is told that its reports are durable."""
        self.logged: dict[AgentSession | ClientSession, int] = {}
        """Up to which number the log records that each peer sent are in it, or are stored beside it."""
        self.log_batch = 0
        """The last batch for the log store that came before it was closed."""
        self.lines: list[tuple[Submitter, Record]] = []
        """What sessions are shown of what it says of runs."""
        self.effects: list[tuple[Run, int]] = []
        """What follows from transitions, in the order in which they happened."""
        self.decided: list[tuple[ClientSession, FlowDecision]] = []
        """Answers to reports about runs that sessions execute."""
        self.then: list[Callable[[], None]] = []
        """Whatever else waits for this commit."""
        self.refused: StorageFull | None = None
        """Why it was written without the new runs it once had."""
        self.duplicates: frozenset[bytes] = frozenset()
        """New runs that were not written, because the database had their ids."""
        self.unstorable: dict[bytes, TaskyardError] = {}
        """New runs that were not written, because no database could hold what they need."""
        self.set_aside = 0
        """How often rows that cannot be written were taken out of it."""
        self.payload_bytes = 0
        """How much of users' payload its rows hold; counted where they are made."""
        self.overdue = False
        """Whether rows that wait to be taken along have waited long enough."""

    def is_small(self, rows: int) -> bool:
        """Whether a commit of so many rows is quickly written."""
        return rows <= SMALL_ROWS and self.payload_bytes <= SMALL_BYTES

    def empty(self) -> bool:
        """Whether there is nothing to write and nothing to do, but for rows that wait to be taken along."""
        return not (
            self.accepted
            or self.reported
            or self.then
            or self.effects
            or self.submitted
            or self.decided
            or self.logged
            or self.lines
            or self.overdue
            or self.rows.rows() - self.riding
        )

    def last_new_seq(self) -> int:
        """Return the greatest seq of a new run in it, 0 without one."""
        return int(_seq_of(self.rows.new_runs[-1])) if self.rows.new_runs else 0

    def ends_any(self, which: Callable[[int], bool]) -> bool:
        """Whether one of some runs ends in it, by their seq."""
        return any(run.ended and which(run.seq) for run, _ in self.effects)

    @property
    def riding(self) -> int:
        """How many rows wait to be taken along: they are no reason for a commit."""
        return len(self.rows.dispatches) + len(self.rows.agents)

    def renewed(self) -> "Commit":
        """Return another one in its place, if nothing is in it."""
        if not self.empty() or self.rows.rows() or self.refused is not None:
            return self
        other = Commit(self.rows.number)
        other.rows.low_seq = self.rows.low_seq
        other.rows.dispatched_below = self.rows.dispatched_below
        return other


class AfterCommits(Protocol):
    """Who keeps the promises of commits."""

    def committed(self, commit: Commit, result: CommitResult) -> None:
        """Do what was to be done after a commit that is durable now."""

    def refused(self, commit: Commit, error: StorageFull, *, behind: bool) -> None:
        """Take the new runs out of a commit the database has no room for, and tell those whose they are.

        Args:
            commit: Which.
            error: Why.
            behind: Whether a commit before it is not durable yet and keeps its runs.
        """

    def set_aside(self, commit: Commit, found: Sequence[RefusedRow]) -> None:
        """Take rows that can never be written out of a commit, and end the runs they are about in it."""
